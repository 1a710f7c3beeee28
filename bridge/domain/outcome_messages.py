"""Outcome messages: the events, replies and dead letters of a submission, as values.

`bridge.worker.delivery` has the order in which they are published.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.domain import events
from bridge.domain.commands import Malformed
from bridge.domain.contracts.commands import SEND
from bridge.domain.deliveries import Death, conflicting, dead_letter, delayed_copy, reply
from bridge.domain.events import outgoing_event
from bridge.domain.outcomes import invalid_event

if TYPE_CHECKING:
    from bridge.domain.commands import CommandRules
    from bridge.domain.deliveries import Received
    from bridge.domain.events import Event
    from bridge.domain.ledger import StoredEvent
    from bridge.domain.messages import Outgoing
    from bridge.domain.names import Names
    from bridge.domain.outcomes import EventFormat, Outcome
    from bridge.domain.rules import LedgerRules


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRules:
    """The configured rules for sending."""

    commands: CommandRules
    ledger: LedgerRules
    style: EventFormat
    names: Names


def event_message(event: Event, rules: SendRules) -> Outgoing:
    """Return the event as a message."""
    names = rules.names
    return outgoing_event(event, exchange=names.events_exchange, unrouted_queue=names.unrouted_queue)


def outcome_messages_of(
    received: Received,
    index: int,
    outcome: Outcome,
    stored_event: StoredEvent,
    rules: SendRules,
    *,
    dead: bool,
    now: float,
) -> list[Outgoing]:
    """Return the messages of an outcome: the event, the reply if requested, and the dead letter if `dead` allows it."""
    event = events.Event(
        id=stored_event.event_id, type=outcome.event_type, subject=received.parsed.id, body=stored_event.body
    )
    # A command that expired at the broker can be replayed: its publisher may not have intended the expiration.
    is_dead = event.type in events.DEAD or (event.type == events.EXPIRED and received.given_up is not None)
    death = _death(event, index, now) if dead and is_dead else None
    return _messages(received, event, rules, death=death)


def _death(event: Event, index: int, now: float) -> Death:
    """Return the dead letter's headers from the event, so that every worker publishes the same ones at any time."""
    data = json.loads(event.body)["data"]
    error = data["error"] or {}
    return Death(
        outcome=event.type.rpartition(".")[2],
        reason=error.get("exception_id") or error.get("exceptionId") or error.get("name") or "unknown",
        command_id=event.subject,
        index=index,
        attempts=data["attempts"],
        event_id=event.id,
        at=now,
    )


def invalid_messages(
    received: Received, rules: SendRules, *, now: float, conflict: bool = False
) -> list[Outgoing]:
    """Return the messages for a delivery that is not a valid command, or has the id of another command."""
    if conflict or not isinstance(received.parsed, Malformed):
        malformed, name = conflicting(received), "conflict"
    else:
        malformed, name = received.parsed, "invalid"
    event = invalid_event(
        malformed,
        received.body_hash,
        style=rules.style,
        now=now,
        name=name,
        traceparent=received.traceparent,
    )
    death = Death(
        outcome="invalid",
        reason="; ".join(malformed.reasons)[:500],
        command_id=malformed.id,
        index=None,
        attempts=0,
        event_id=event.id,
        at=now,
    )
    return _messages(received, event, rules, death=death)


def scheduled_copy(received: Received, version: int, rules: SendRules, *, at: float, now: float) -> Outgoing:
    """Return the copy of the command that comes back at `at` (seconds since the epoch), never before."""
    return delayed_copy(
        received,
        version,
        exchange=rules.names.commands_exchange,
        routing_key=SEND,
        delay=max(1, math.ceil(at - now)),
    )


def _messages(received: Received, event: Event, rules: SendRules, *, death: Death | None) -> list[Outgoing]:
    messages = [event_message(event, rules)]
    if received.reply_to is not None:
        answer = reply(received, event, events.CONTENT_TYPE, own_queues=rules.names.own_queues)
        if answer is not None:
            messages.append(answer)
    if death is not None:
        messages.append(dead_letter(received, death, dead_queue=rules.names.dead_queue))
    return messages
