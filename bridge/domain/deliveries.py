"""A command's way through the bridge, as data: what was delivered, what it says, and the copies made of it.

Bytes and properties of a command travel on as they came: to the dead letters for whoever looks into them, and into the
delay for another look. What the broker itself attached on the way stays behind: with its old `x-death` RabbitMQ drops
a copy, with its `expiration` it brings it early (SPEC section 4).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bridge.domain.command_parser import parse_command
from bridge.domain.commands import Malformed, Parsed, SendSms
from bridge.domain.contracts import letters
from bridge.domain.contracts.commands import REPLAY, RESEND
from bridge.domain.events import rfc3339
from bridge.domain.given_up import reason_word
from bridge.domain.ledger import Replay
from bridge.domain.messages import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.domain.commands import CommandRules
    from bridge.domain.events import Event
    from bridge.domain.messages import Delivery

#: Seconds that a command may have waited, and that a publisher's clock may be ahead of ours, to be believed.
OLDEST = 366 * 86_400.0
AHEAD = 300.0
#: The header in which a delayed copy carries its version.
TOKEN = "x-bridge-token"  # noqa: S105 - the name of a header
#: What decides about a command beside its body: without it, it could be a second copy, or a replay.
_STEERING = frozenset({"headers", *(f"headers.{name}" for name in (TOKEN, REPLAY, RESEND))})
#: Stands for a `message_id` that can't be read; no text, so no id.
_NO_TEXT = b"?"
#: The header in which a delayed copy carries why the broker gave its command up.
GIVEN_UP = "x-bridge-given-up"
#: W3C Trace Context, level 1, section 3.2.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,200})?", re.ASCII)

#: Headers that the broker attaches, or that make it route a message anywhere else.
_BROKERS_HEADERS = re.compile(
    r"x-death|x-first-death-.*|x-last-death-.*|x-delivery-count|x-acquired-count|CC|BCC"
)
#: Properties that would change the copy's fate: `expiration` drops it, `user_id` must be the publisher's own.
_NOT_COPIED = frozenset({"application_headers", "delivery_mode", "expiration", "user_id", "cluster_id"})
#: RabbitMQ's direct reply-to: it ends the channel for a message with this `reply_to` whose publisher does not consume
#: from it, and of a command that came with it nobody could tell whom to answer.
_PSEUDO_QUEUE = "amq.rabbitmq.reply-to"


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A delivery and what it says."""

    delivery: Delivery
    parsed: Parsed
    #: SHA-256 of the body, in hex.
    body_hash: str
    #: The version of a copy from the delay; 0 for what never was there.
    version: int = 0
    #: Whether it comes from the delay, with or without a version.
    delayed: bool = False
    #: The dead letter it was, where it was sent back.
    replay: Replay | None = None
    #: Why the broker gave it up, where it did.
    given_up: str | None = None
    traceparent: str | None = None
    reply_to: str | None = None
    #: When it was published, in seconds since the epoch, as far as its publisher says so.
    published_at: float | None = None


def read(delivery: Delivery, *, rules: CommandRules, now: float, new_id: Callable[[], str]) -> Received:
    """Read a delivery; never raises for what it may contain.

    `new_id` makes the id of a command that has none, where configuration allows that.
    """
    # What can't be read is not taken for missing: then the command would have no id, and could be sent without one.
    message_id = _NO_TEXT if "message_id" in delivery.unreadable else delivery.properties.get("message_id")
    version, replay = _version(delivery.headers.get(TOKEN)), _replay(delivery.headers)
    traceparent = trace_context(delivery.headers.get("traceparent"))
    published = published_at(delivery, now)
    parsed = parse_command(delivery.body, message_id, rules=rules, now=now)
    if not _STEERING.isdisjoint(delivery.unreadable):
        reasons = parsed.reasons if isinstance(parsed, Malformed) else ()
        reasons = (*reasons, "the bridge's own AMQP headers can't be read")
        parsed = (
            replace(parsed, reasons=reasons)
            if isinstance(parsed, Malformed)
            else Malformed(id=parsed.id, reasons=reasons, metadata=parsed.metadata)
        )
    if parsed.id is None and isinstance(parsed, SendSms):
        parsed = replace(parsed, id=new_id())
    delayed = TOKEN in delivery.headers
    given_up = delivery.given_up
    if delayed and GIVEN_UP in delivery.headers:
        # A copy that carries a reason stays given up, though its reason is no word.
        given_up = given_up or reason_word(delivery.headers[GIVEN_UP])
    if given_up is not None and isinstance(parsed, SendSms):
        # Nothing is to be waited for: it is not sent any more.
        parsed = replace(parsed, given_up=given_up, send_at=None)
    reply_to = delivery.properties.get("reply_to")
    return Received(
        delivery=delivery,
        parsed=parsed,
        body_hash=hashlib.sha256(delivery.body).hexdigest(),
        version=version,
        delayed=delayed,
        replay=replay,
        given_up=given_up,
        traceparent=traceparent,
        reply_to=reply_to if isinstance(reply_to, str) and reply_to else None,
        published_at=published,
    )


def published_at(delivery: Delivery, now: float) -> float | None:
    """Return when a command was published, in seconds since the epoch; None where its publisher did not say so.

    AMQP's `timestamp` is in seconds (AMQP 0-9-1 section 4.2.5.4). A zero, milliseconds, or a clock that is far off say
    nothing: by one such command the metrics would show an age of decades.
    """
    timestamp = delivery.properties.get("timestamp")
    if not isinstance(timestamp, int) or not now - OLDEST <= timestamp <= now + AHEAD:
        return None
    return float(timestamp)


def conflicting(received: Received) -> Malformed:
    """Return why a command is invalid whose id another one has."""
    metadata = None if isinstance(received.parsed, Malformed) else received.parsed.metadata
    reason = "another command has this id, with other content"
    return Malformed(id=received.parsed.id, reasons=(reason,), metadata=metadata)


def reply(
    received: Received, event: Event, content_type: str, *, own_queues: frozenset[str]
) -> Outgoing | None:
    """Return the outcome as the reply that the command asked for, if it did.

    A queue of the bridge's own is no place for replies: an event there would be read as a command.
    """
    if received.reply_to in (None, _PSEUDO_QUEUE) or received.reply_to in own_queues:
        return None
    properties: dict[str, object] = {"message_id": event.id, "type": event.type}
    correlation_id = received.delivery.properties.get("correlation_id")
    if correlation_id is not None:
        properties["correlation_id"] = correlation_id
    return Outgoing(
        exchange="",
        routing_key=received.reply_to,
        body=event.body,
        content_type=content_type,
        properties=properties,
        droppable=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """Why a command is dead: the headers of its dead letter (SPEC section 3.3)."""

    outcome: str
    #: Names fields and codes, never a number or a text.
    reason: str
    command_id: str | None
    index: int | None
    attempts: int
    event_id: str
    #: When, in seconds since the epoch.
    at: float


def dead_letter(received: Received, death: Death, *, dead_queue: str) -> Outgoing:
    """Return the command as a dead letter."""
    headers: dict[str, object] = {
        **own_headers(received.delivery),
        letters.OUTCOME: death.outcome,
        letters.REASON: death.reason,
        letters.ATTEMPTS: death.attempts,
        letters.EVENT_ID: death.event_id,
        letters.DEAD_AT: rfc3339(death.at),
    }
    if death.command_id is not None:
        headers[letters.COMMAND_ID] = death.command_id
    if death.index is not None:
        headers[letters.INDEX] = death.index
    headers.pop(TOKEN, None)
    headers.pop(GIVEN_UP, None)
    return copy_of(received.delivery, exchange="", routing_key=dead_queue, headers=headers)


def delayed_copy(
    received: Received, version: int, *, exchange: str, routing_key: str, delay: int
) -> Outgoing:
    """Return the command as it goes to the delay under `version`, for `delay` seconds."""
    headers = own_headers(received.delivery)
    headers[TOKEN] = str(version)
    headers.pop(GIVEN_UP, None)
    if received.given_up is not None:
        headers[GIVEN_UP] = received.given_up
    copy = copy_of(received.delivery, exchange=exchange, routing_key=routing_key, headers=headers)
    # An id that was made up must be the same one when the copy comes back.
    message_id = copy.properties.get("message_id") or received.parsed.id
    return replace(copy, properties={**copy.properties, "message_id": message_id}, delay=delay)


def copy_of(
    delivery: Delivery, *, exchange: str, routing_key: str, headers: Mapping[str, object]
) -> Outgoing:
    """Return the command as it came, with the properties that may travel on, and `headers` in place of its own."""
    properties = {key: value for key, value in delivery.properties.items() if key not in _NOT_COPIED}
    if properties.get("reply_to") == _PSEUDO_QUEUE:
        del properties["reply_to"]
    content_type = properties.pop("content_type", None)
    return Outgoing(
        exchange=exchange,
        routing_key=routing_key,
        body=delivery.body,
        content_type=content_type if isinstance(content_type, str) else None,
        properties=properties,
        headers=headers,
    )


def own_headers(delivery: Delivery) -> dict[str, object]:
    """Return a delivery's headers without those that the broker has put on it."""
    # A name that is not UTF-8 comes as bytes, whatever the type says.
    return {key: value for key, value in delivery.headers.items() if not _BROKERS_HEADERS.fullmatch(str(key))}


def trace_context(header: object) -> str | None:
    """Return a `traceparent` as it came, or None for what is none."""
    text = header.decode("ascii", "replace") if isinstance(header, bytes) else header
    return text if isinstance(text, str) and _TRACEPARENT.fullmatch(text) else None


def _version(token: object) -> int:
    # Nine digits fit into any database's integer, whoever wrote the header.
    text = token.decode("ascii", "replace") if isinstance(token, bytes) else str(token)
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) else 0


def _replay(headers: Mapping[str, object]) -> Replay | None:
    event_id = headers.get(REPLAY)
    if not isinstance(event_id, str):
        return None
    return Replay(event_id=event_id, resend=headers.get(RESEND) in (True, "true"))
