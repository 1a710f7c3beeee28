"""Was it sent? What the provider's history, its notifications and our own records say of an ambiguous attempt.

The provider has no idempotency key and its history no trace of ours, so a message is known by what it is: outbound,
the pair of addresses, the text, the time, and an id that no other submission owns (SPEC section 4, "Reconcile"). Where
several submissions of one text to one number are in doubt at once, whose message is whose can't be told, and need not
be: as many are sent as there are messages, once all of them had the time to show.

    found         a message that is ours                          -> sent, or undeliverable
    absent        a whole history without one, read late enough   -> it was not sent
    look again    not yet, or somebody else's call is under way   -> another look
    cannot tell   the history is cut off, or was never to be had  -> nobody knows
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.core.rules import ReconcileRules

#: The provider's word for a message that will never arrive (wire reference 4.1).
IMPOSSIBLE = "DeliveryImpossible"
#: The share of what an account keeps from which on it counts as full: what has just come in drops something else, and
#: shows only later.
NEAR_CAP = 0.5
#: Seconds that the provider's clock may seem to differ by itself: its `Date` has no fractions, and servers make it once
#: a second.
COARSE = 2.0
#: Seconds beside `reconcile.skew` that a message's time may be off: as above, and it has no fractions either.
SLACK = COARSE + 1.0
#: Characters; what is longer is no SMS. To normalize takes the square of a run of combining marks: for these 20 ms, for
#: a whole command of them a quarter of a minute.
LONGEST_TEXT = 4_000
#: Seconds since the epoch (2010): no message of the provider's is older, and what says so is in another unit.
PLAUSIBLE = 1_262_304_000.0
#: Seconds until the first look after the attempt, and the least between two looks.
FIRST_LOOK = 2.0
#: Seconds between two looks at most, until the provider had its time to show what it has.
OFTEN_LOOK = 10.0
#: Seconds between two looks at most, while the history is not to be had.
LONGEST_LOOK = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """An outbound message that the provider says it has."""

    message_id: str
    #: The numbers as the provider writes them, and when it had the message, in seconds since the epoch.
    sender_address: str | None = field(repr=False)
    destination_address: str = field(repr=False)
    text_key: bytes
    sent_at: float
    status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a look at the provider's history brought."""

    messages: tuple[Evidence, ...] = ()
    #: How many messages of any kind the provider has of the whole account; None where that is not known.
    total: int | None = None
    #: Whether this is all that the provider has of the pair.
    complete: bool = True
    #: When the oldest message of any kind was sent that the account is known to have; it forgets the oldest first.
    oldest_at: float | None = None
    #: When it was asked for, in seconds since the epoch: what was accepted later can't be in it.
    read_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When the provider may have taken what is in doubt, and when it has certainly shown it if so."""

    #: In seconds since the epoch; nothing of its own is older than `start`.
    start: float
    settled_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A submission that may have been sent."""

    key: bytes
    destination_address: str = field(repr=False)
    #: None where any of the account's numbers may have sent it.
    sender_address: str | None = field(repr=False)
    #: When the first attempt in doubt began and the last one ended.
    since: float
    until: float
    #: When nobody waits for a history any longer.
    give_up_at: float
    now: float
    #: Whether the provider said that it has it, and under which id, if it said so.
    submitted: bool = False
    message_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """Another submission in doubt that the same message could be of; the times are those of a `Doubt`."""

    since: float
    until: float
    #: Whether the provider said that it has it: one of the messages is its own, for certain.
    submitted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """It was sent: this is the message."""

    message: Evidence


@dataclass(frozen=True, slots=True)
class Absent:
    """It was not sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAgain:
    """Nothing can be said before `at`."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CannotTell:
    """Nobody knows, and no further look will help."""

    reason: str


Finding: TypeAlias = Found | Absent | LookAgain | CannotTell


def text_key(text: str) -> bytes:
    """Return what two spellings of one text share: NFC, line ends and outer spaces aside; see `LONGEST_TEXT`."""
    normal = text if len(text) > LONGEST_TEXT else unicodedata.normalize("NFC", text)
    plain = normal.replace("\r\n", "\n").replace("\r", "\n").strip()
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).digest()


def match_key(destination_address: str, text: str) -> bytes:
    """Return what all submissions share that one message in the history could be. The sender may be any."""
    return _match_key(destination_address, text_key(text))


def match_key_of(message: Evidence) -> bytes:
    """Return the key of a message as `match_key` makes it."""
    return _match_key(message.destination_address, message.text_key)


def _match_key(destination_address: str, key_of_text: bytes) -> bytes:
    return hashlib.sha256(destination_address.encode() + b"\0" + key_of_text).digest()


def window_of(since: float, until: float, rules: ReconcileRules) -> Window:
    """Return the window of attempts that began at `since` and ended at `until`."""
    return Window(start=since - rules.skew - SLACK, settled_at=until + rules.settle)


def hangs_on_account(reading: Reading, window: Window) -> bool:
    """Whether only what the account has in other threads can show that this one lacks nothing.

    A trial account keeps so many messages in all (wire reference 4.3): a thread of two may have been a longer one.
    """
    is_late = reading.read_at >= window.settled_at
    return is_late and reading.complete and not _reaches_back(reading, window.start)


def judge_history(
    doubt: Doubt,
    reading: Reading | None,
    seen: Sequence[Evidence],
    *,
    is_taken: Callable[[str], bool],
    others_attempting: bool,
    rivals: Sequence[Rival],
    rules: ReconcileRules,
) -> Finding:
    """Say what is known. `reading` is None where the history was not to be had; `seen` came by notification.

    `is_taken` says whether a message id belongs to another submission; `others_attempting` whether a call for the same
    pair and text is under way, whose message could be mistaken for this one's.
    """
    known = {
        message.message_id: message for message in (*seen, *(reading.messages if reading is not None else ()))
    }
    if doubt.message_id in known:
        return Found(message=known[doubt.message_id])
    if others_attempting:
        return LookAgain(at=doubt.now + FIRST_LOOK)
    window = window_of(doubt.since, doubt.until, rules)
    ours = [
        message
        for message in known.values()
        if _is_match(message, doubt, window.start, rules.skew + SLACK) and not is_taken(message.message_id)
    ]
    if ours and len(ours) <= len(rivals):
        # Too few for all: whoever is late to show must not look absent because another one took its message.
        settled_at = max(doubt.until, *(rival.until for rival in rivals)) + rules.settle
        if (doubt.now if reading is None else reading.read_at) < settled_at:
            return LookAgain(at=_next_look(doubt, settled_at))
    if not doubt.submitted:
        ours = _left_by(rivals, ours, rules.skew + SLACK)
    if ours:
        return Found(message=min(ours, key=lambda message: (message.sent_at, message.message_id)))
    return _without_history(doubt) if reading is None else _without_trace(doubt, reading, window, rules)


def _without_trace(doubt: Doubt, reading: Reading, window: Window, rules: ReconcileRules) -> Finding:
    """Say what a history tells in which it is not."""
    if reading.read_at < window.settled_at:
        return LookAgain(at=_next_look(doubt, window.settled_at))
    if _is_cut_off(reading, window.start, rules.history_cap):
        return CannotTell(reason="the provider's history is cut off")
    latest = max(doubt.now, reading.read_at) + rules.skew + SLACK
    if any(message.sent_at > latest and match_key_of(message) == doubt.key for message in reading.messages):
        return CannotTell(reason="the provider's history has a message like it at an impossible time")
    return Absent()


def _left_by(rivals: Sequence[Rival], messages: Sequence[Evidence], slack: float) -> list[Evidence]:
    """Return the messages that are left when each rival that was submitted has one, the nearest to its attempt."""
    left = list(messages)
    for rival in sorted(rivals, key=lambda rival: rival.until):
        near = [message for message in left if rival.since - slack <= message.sent_at <= rival.until + slack]
        if rival.submitted and near:
            left.remove(min(near, key=lambda message: abs(message.sent_at - rival.until)))
    return left


def _is_match(message: Evidence, doubt: Doubt, start: float, slack: float) -> bool:
    return (
        message.destination_address == doubt.destination_address
        and (doubt.sender_address is None or message.sender_address in (None, doubt.sender_address))
        and match_key_of(message) == doubt.key
        and start <= message.sent_at <= doubt.now + slack
    )


def _without_history(doubt: Doubt) -> Finding:
    if doubt.now >= doubt.give_up_at:
        return CannotTell(reason="the provider's history was not to be had")
    waited = max(FIRST_LOOK, min(doubt.now - doubt.until, LONGEST_LOOK))
    return LookAgain(at=min(doubt.now + waited, max(doubt.give_up_at, doubt.now + FIRST_LOOK)))


def _next_look(doubt: Doubt, settled_at: float) -> float:
    """Look less and less often, and once more when the window is over. A notification may tell at any time."""
    waited = max(FIRST_LOOK, min(doubt.now - doubt.until, OFTEN_LOOK))
    return max(min(doubt.now + waited, settled_at), doubt.now)


def _is_cut_off(reading: Reading, start: float, cap: int) -> bool:
    """Whether messages of the window may be missing, for want of a page or because the account keeps `cap` at most."""
    if not reading.complete:
        return True
    if cap == 0 or _reaches_back(reading, start):
        return False
    return reading.total is None or max(reading.total, len(reading.messages)) >= cap * NEAR_CAP


def _reaches_back(reading: Reading, start: float) -> bool:
    """Whether the account still has a message from before the window: the oldest go first, so it lacks none of it."""
    return reading.oldest_at is not None and reading.oldest_at < start
