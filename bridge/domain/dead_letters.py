"""Dead letters as an operator sees them, and their replays (SPEC section 3.3).

    outcome                        message that a replay publishes
    rejected, failed, unknown,     the command with `x-bridge-replay`: it reopens a submission whose outcome still is
      expired by the broker        that event
    invalid                        the command unchanged: it has no row, so a bridge that can parse it takes it as new
    broker (it gave the command    the command unchanged, with the token of a delayed copy: the ledger decides
      up)

"Unchanged" is byte for byte, with the command's properties and headers, without the headers of the dead letter.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bridge.domain import events
from bridge.domain.command_parser import parse_command
from bridge.domain.commands import Malformed
from bridge.domain.contracts import letters
from bridge.domain.contracts.commands import REPLAY, RESEND
from bridge.domain.deliveries import GIVEN_UP, TOKEN, copy_of, own_headers
from bridge.domain.masks import printable, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.domain.commands import CommandRules
    from bridge.domain.messages import Delivery, Outgoing

#: The outcome of a command that the broker gave up, and gave up again in the queue of given-up commands.
BROKER = "broker"
#: The headers that a dead letter has in addition to those of its command (SPEC section 3.3).
DEATH_HEADERS = frozenset(letters.HEADERS.names)
#: The outcomes that the ledger has recorded.
_RECORDED = frozenset(type_.rpartition(".")[2] for type_ in events.DEAD_LETTERS - {events.INVALID})
#: The characters of a header that are shown at most.
_SHOWN = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A command in the dead-letter queue, with the reason. None stands for unknown values."""

    delivery: Delivery
    #: `invalid`, `rejected`, `failed`, `unknown`, `expired` or `BROKER`.
    outcome: str
    #: Fields and codes; the broker's own reason if it gave the command up (`delivery_limit`).
    reason: str | None
    command_id: str | None
    index: int | None
    attempts: int | None
    event_id: str | None
    #: In seconds since the epoch.
    dead_at: float | None
    #: The sender that the command names: E.164 if it can be parsed, or `default`.
    sender: str | None = field(repr=False)
    #: The destination with `index`, or all of them.
    destinations: tuple[str, ...] = field(repr=False)
    message: str | None = field(repr=False)
    #: Whether the command has an id; otherwise the bridge has generated `command_id`.
    has_id: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """A filter of dead letters: a letter has to match each field that is not empty or None."""

    outcomes: tuple[str, ...] = ()
    #: Texts of which the reason contains one, ignoring case.
    reasons: tuple[str, ...] = ()
    #: In the form of `DeadLetter.sender`.
    senders: tuple[str, ...] = field(default=(), repr=False)
    #: Ids of commands or of events.
    ids: tuple[str, ...] = ()
    #: Dead-lettered at `since` or later, and before `before`, in seconds since the epoch.
    since: float | None = None
    before: float | None = None
    #: The maximum number, from the head of the queue.
    limit: int | None = None

    @property
    def everything(self) -> bool:
        """Whether it matches every dead letter."""
        return self == DeadLetterFilter()

    def matches(self, letter: DeadLetter) -> bool:
        """Whether it matches the dead letter; `limit` is not considered."""
        reason = (letter.reason or "").lower()
        return (
            (not self.outcomes or letter.outcome in self.outcomes)
            and (not self.reasons or any(word.lower() in reason for word in self.reasons))
            and (not self.senders or letter.sender in self.senders)
            and (not self.ids or not {letter.command_id, letter.event_id}.isdisjoint(self.ids))
            and self._in_time(letter.dead_at)
        )

    def _in_time(self, dead_at: float | None) -> bool:
        if self.since is None and self.before is None:
            return True
        if dead_at is None:
            return False
        return (self.since is None or dead_at >= self.since) and (
            self.before is None or dead_at < self.before
        )


def read_letter(delivery: Delivery, *, rules: CommandRules, now: float) -> DeadLetter:
    """Parse a dead letter. Never raises, regardless of its content. `now` is in seconds since the epoch."""
    headers = delivery.headers
    outcome = _text(headers.get(letters.OUTCOME))
    parsed = parse_command(delivery.body, delivery.properties.get("message_id"), rules=rules, now=now)
    index = _number(headers.get(letters.INDEX))
    command = None if isinstance(parsed, Malformed) else parsed
    addresses = () if command is None else command.destinations
    return DeadLetter(
        delivery=delivery,
        outcome=outcome or BROKER,
        reason=_text(headers.get(letters.REASON)) if outcome else _brokers_reason(headers),
        command_id=_text(headers.get(letters.COMMAND_ID)) or parsed.id,
        index=index,
        attempts=_number(headers.get(letters.ATTEMPTS)),
        event_id=_text(headers.get(letters.EVENT_ID)),
        dead_at=_time(headers.get(letters.DEAD_AT)) if outcome else _brokers_time(headers),
        sender=None if command is None else command.sender.wire,
        destinations=tuple(address.wire for at, address in enumerate(addresses) if index in (None, at)),
        message=None if command is None else command.message,
        has_id=parsed.id is not None,
    )


def is_moved_letter(delivery: Delivery, *, rules: CommandRules, now: float) -> bool:
    """Whether a delivery of the command queue is a dead letter that was moved there without `bridge dead replay`.

    It has the headers of a dead letter, with the id of its command. A new command whose publisher has copied such
    headers has a different id. `now` is in seconds since the epoch.
    """
    headers = delivery.headers
    if letters.OUTCOME not in headers or REPLAY in headers or not _text(headers.get(letters.EVENT_ID)):
        return False
    own = parse_command(delivery.body, delivery.properties.get("message_id"), rules=rules, now=now).id
    return own is None or own == _text(headers.get(letters.COMMAND_ID))


def returned_letter(delivery: Delivery, *, dead_queue: str) -> Outgoing:
    """Return a dead letter that was moved to the command queue, with all its headers, for the dead-letter queue."""
    return copy_of(delivery, exchange="", routing_key=dead_queue, headers=own_headers(delivery))


def replay_of(letter: DeadLetter, *, exchange: str, routing_key: str, resend: bool) -> Outgoing:
    """Return the replay of a dead letter, for the commands exchange.

    With `resend`, an `unknown` submission is sent again if the provider's history does not show it.
    """
    headers = {
        name: value for name, value in own_headers(letter.delivery).items() if name not in DEATH_HEADERS
    }
    if letter.outcome in _RECORDED and letter.event_id is not None:
        # The replay names this dead letter, and no earlier one.
        headers.pop(TOKEN, None)
        headers.pop(GIVEN_UP, None)
        headers.pop(RESEND, None)
        headers[REPLAY] = letter.event_id
    if resend:
        headers[RESEND] = True
    copy = copy_of(letter.delivery, exchange=exchange, routing_key=routing_key, headers=headers)
    if letter.has_id or letter.command_id is None:
        return copy
    # The ledger knows the command by its generated id.
    return replace(copy, properties={**copy.properties, "message_id": letter.command_id})


def _brokers_reason(headers: Mapping[str, object]) -> str | None:
    return _text(headers.get("x-first-death-reason")) or _text(_death(headers).get("reason"))


def _brokers_time(headers: Mapping[str, object]) -> float | None:
    time = _death(headers).get("time")
    # py-amqp returns timestamps in UTC without a time zone.
    return time.replace(tzinfo=UTC).timestamp() if isinstance(time, datetime) else None


def _death(headers: Mapping[str, object]) -> Mapping[str, object]:
    deaths = headers.get("x-death")
    last = deaths[0] if isinstance(deaths, list) and deaths else None
    return last if isinstance(last, dict) else {}


def _time(value: object) -> float | None:
    text = _text(value)
    try:
        at = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if at is None or at.tzinfo is None else at.timestamp()


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return shorten(printable(value), _SHOWN) if isinstance(value, str) and value else None
