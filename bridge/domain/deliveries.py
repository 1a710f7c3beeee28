"""Deliveries of the command queue, parsed, and the copies that are made of them: delayed copies and dead letters.

A copy has the bytes and properties of its command, without those that the broker attaches: RabbitMQ drops a copy with
an old `x-death`, and delivers one with `expiration` early (SPEC section 4).
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

#: Seconds. A command's `timestamp` counts only if it is at most this far in the past, and in the future.
OLDEST = 366 * 86_400.0
AHEAD = 300.0
#: The header of a delayed copy with its version, the fencing token.
TOKEN = "x-bridge-token"  # noqa: S105 - the name of a header
#: The headers that decide about a command beside its body. If one can't be read, the command may be a copy or a replay.
_DECISIVE = frozenset({"headers", *(f"headers.{name}" for name in (TOKEN, REPLAY, RESEND))})
#: Stands for a `message_id` that can't be read: not a text, so not an id.
_NO_TEXT = b"?"
#: The header of a delayed copy with the reason for which the broker gave its command up.
GIVEN_UP = "x-bridge-given-up"
#: W3C Trace Context, level 1, section 3.2.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,200})?", re.ASCII)

#: Headers that the broker attaches, or that make it route a message to further queues.
_BROKERS_HEADERS = re.compile(
    r"x-death|x-first-death-.*|x-last-death-.*|x-delivery-count|x-acquired-count|CC|BCC"
)
#: Properties that are not copied: `expiration` would drop the copy, and `user_id` must name its publisher.
_NOT_COPIED = frozenset({"application_headers", "delivery_mode", "expiration", "user_id", "cluster_id"})
#: RabbitMQ's direct reply-to. RabbitMQ closes the channel of a publisher that uses this `reply_to` without consuming
#: from it, and a copy of the command would have lost the real reply address.
_PSEUDO_QUEUE = "amq.rabbitmq.reply-to"


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A delivery of the command queue, parsed."""

    delivery: Delivery
    parsed: Parsed
    #: SHA-256 of the body, in hex.
    body_hash: str
    #: The version of a delayed copy; 0 for any other delivery.
    version: int = 0
    #: Whether it comes from the delay queues, with or without a version.
    delayed: bool = False
    #: The dead letter that it was, if it is a replay.
    replay: Replay | None = None
    #: The reason for which the broker gave it up, if it did.
    given_up: str | None = None
    traceparent: str | None = None
    reply_to: str | None = None
    #: When it was published, in seconds since the epoch; None if its publisher did not set a plausible `timestamp`.
    published_at: float | None = None


def read(delivery: Delivery, *, rules: CommandRules, now: float, new_id: Callable[[], str]) -> Received:
    """Parse a delivery. Never raises, regardless of its content.

    `new_id` makes the id of a command without one, if the configuration allows such commands.
    """
    # An unreadable id does not count as missing: the command would get a new id and be sent.
    message_id = _NO_TEXT if "message_id" in delivery.unreadable else delivery.properties.get("message_id")
    version, replay = _version(delivery.headers.get(TOKEN)), _replay(delivery.headers)
    traceparent = trace_context(delivery.headers.get("traceparent"))
    published = published_at(delivery, now)
    parsed = parse_command(delivery.body, message_id, rules=rules, now=now)
    if not _DECISIVE.isdisjoint(delivery.unreadable):
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
        # A delayed copy with a reason stays given up, even if the reason can't be parsed.
        given_up = given_up or reason_word(delivery.headers[GIVEN_UP])
    if given_up is not None and isinstance(parsed, SendSms):
        # It is not sent any more, so it does not wait for its `send_at`.
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
    """Return when a command was published, in seconds since the epoch; None without a plausible `timestamp`.

    AMQP's `timestamp` is in seconds (AMQP 0-9-1 section 4.2.5.4). A zero, milliseconds and clocks that are far off are
    ignored: one such command would make the metrics show an age of decades.
    """
    timestamp = delivery.properties.get("timestamp")
    if not isinstance(timestamp, int) or not now - OLDEST <= timestamp <= now + AHEAD:
        return None
    return float(timestamp)


def conflicting(received: Received) -> Malformed:
    """Return a command as invalid because another command has its id."""
    metadata = None if isinstance(received.parsed, Malformed) else received.parsed.metadata
    reason = "another command has this id, with other content"
    return Malformed(id=received.parsed.id, reasons=(reason,), metadata=metadata)


def reply(
    received: Received, event: Event, content_type: str, *, own_queues: frozenset[str]
) -> Outgoing | None:
    """Return the outcome's event as the reply that the command asked for; None if it asked for no reply.

    The bridge's own queues get no replies: an event on the command queue would be read as a command.
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
    """The values of a dead letter's headers (SPEC section 3.3)."""

    outcome: str
    #: Fields and codes, never a phone number or a text.
    reason: str
    command_id: str | None
    index: int | None
    attempts: int
    event_id: str
    #: In seconds since the epoch.
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
    """Return the copy of the command with `version` for the delay queues, for `delay` seconds."""
    headers = own_headers(received.delivery)
    headers[TOKEN] = str(version)
    headers.pop(GIVEN_UP, None)
    if received.given_up is not None:
        headers[GIVEN_UP] = received.given_up
    copy = copy_of(received.delivery, exchange=exchange, routing_key=routing_key, headers=headers)
    # A generated id must be the same when the copy comes back.
    message_id = copy.properties.get("message_id") or received.parsed.id
    return replace(copy, properties={**copy.properties, "message_id": message_id}, delay=delay)


def copy_of(
    delivery: Delivery, *, exchange: str, routing_key: str, headers: Mapping[str, object]
) -> Outgoing:
    """Return a copy of the command with `headers` instead of the original ones, and without `_NOT_COPIED`."""
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
    """Return a delivery's headers without those of the broker."""
    # A name that is not UTF-8 comes as bytes, in spite of the type.
    return {key: value for key, value in delivery.headers.items() if not _BROKERS_HEADERS.fullmatch(str(key))}


def trace_context(header: object) -> str | None:
    """Return a valid `traceparent` unchanged, and None for any other value."""
    text = header.decode("ascii", "replace") if isinstance(header, bytes) else header
    return text if isinstance(text, str) and _TRACEPARENT.fullmatch(text) else None


def _version(token: object) -> int:
    # Any publisher can write this header. Nine digits fit into the integer of each database.
    text = token.decode("ascii", "replace") if isinstance(token, bytes) else str(token)
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) else 0


def _replay(headers: Mapping[str, object]) -> Replay | None:
    event_id = headers.get(REPLAY)
    if not isinstance(event_id, str):
        return None
    return Replay(event_id=event_id, resend=headers.get(RESEND) in (True, "true"))
