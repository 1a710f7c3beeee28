"""Outcomes of submissions and their events (SPEC section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from bridge.domain import events
from bridge.domain.answers import ProviderError
from bridge.domain.contracts.data import OUTCOME
from bridge.domain.segments import count_segments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.domain.commands import Malformed, SendSms


class Outcome(StrEnum):
    """The terminal results of a submission. The value is the last part of the event's type."""

    SENT = "sent"
    UNDELIVERABLE = "undeliverable"
    REJECTED = "rejected"
    EXPIRED = "expired"
    FAILED = "failed"
    UNKNOWN = "unknown"

    #: The type of the outcome's event.
    event_type: str

    def __init__(self, value: str) -> None:
        self.event_type = f"sms.outbound.{value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFormat:
    """The source and the spelling of this bridge's events."""

    #: CloudEvents `source`: ``/sms-bridge/<prefix>``.
    source: str
    camel_case: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionResult:
    """The result of a submission: the part of an event's data that is not from the command."""

    attempts: int = 0
    #: The number of the replay; 0 for the original submission.
    replay: int = 0
    message_id: str | None = None
    #: The number that the provider sent from, if known.
    sender_address: str | None = field(default=None, repr=False)
    delivery_status: str | None = None
    reconciled: bool = False
    error: ProviderError | None = None


def outcome_event(
    outcome: Outcome,
    command: SendSms,
    index: int,
    result: SubmissionResult,
    *,
    style: EventFormat,
    now: float,
    traceparent: str | None = None,
) -> events.Event:
    """Return the event of a submission's outcome, recorded at `now` (seconds since the epoch)."""
    data = _data(command, index, result)
    return events.make_event(
        id=events.outcome_id(command.id, index, result.replay),
        type=outcome.event_type,
        source=style.source,
        time=now,
        subject=command.id,
        data=data,
        traceparent=traceparent,
        camel_case=style.camel_case,
    )


def deferred_event(
    command: SendSms,
    index: int,
    result: SubmissionResult,
    *,
    retry_at: float,
    style: EventFormat,
    now: float,
    traceparent: str | None = None,
) -> events.Event:
    """Return the event that reports that a submission waits, with the time of the next call or history lookup."""
    data = _data(command, index, result)
    data["retry_at"] = events.rfc3339(retry_at)
    return events.make_event(
        id=events.event_id("deferred", command.id, index, result.replay, result.attempts),
        type=events.DEFERRED,
        source=style.source,
        time=now,
        subject=command.id,
        data=data,
        traceparent=traceparent,
        camel_case=style.camel_case,
    )


def invalid_event(
    malformed: Malformed,
    body_hash: str,
    *,
    style: EventFormat,
    now: float,
    name: str = "invalid",
    traceparent: str | None = None,
) -> events.Event:
    """Return the event of a command that is not valid; `body_hash` is the SHA-256 of its body in hex.

    The event id depends on the body too, so that it differs from the outcome of a valid command with the same id.
    """
    data: dict[str, object] = dict.fromkeys(OUTCOME.names)
    data["command_id"] = malformed.id
    data["attempts"] = 0
    data["reconciled"] = False
    data["metadata"] = malformed.metadata
    data["error"] = _error(name, "; ".join(malformed.reasons))
    return events.make_event(
        id=events.event_id("invalid", malformed.id or "", body_hash),
        type=events.INVALID,
        source=style.source,
        time=now,
        subject=malformed.id,
        data=data,
        traceparent=traceparent,
        camel_case=style.camel_case,
    )


def read_outcome(body: bytes) -> dict[str, object]:
    """Return the data of an outcome's event with its keys in snake_case."""
    data = events.read_data(body)
    return {key: data[key if key in data else events.camel(key)] for key in OUTCOME.names}


def read_error(body: bytes) -> ProviderError | None:
    """Return the error in an outcome's event, if it has one."""
    error = read_outcome(body)["error"]
    if not isinstance(error, dict):
        return None
    said: dict[str, Any] = {key: events.value_of(error, key) for key in ("exception_id", "http_status")}
    return ProviderError(name=error["name"], message=error["message"], **said)


def _data(command: SendSms, index: int, result: SubmissionResult) -> dict[str, object]:
    error = result.error
    return {
        "command_id": command.id,
        "index": index,
        "destination_address": command.destinations[index].wire,
        "sender_address": result.sender_address or command.sender.wire,
        "message": command.message,
        "delivery_status": result.delivery_status,
        "message_id": result.message_id,
        "attempts": result.attempts,
        "segments": count_segments(command.message).count,
        "reconciled": result.reconciled,
        "metadata": command.metadata,
        "error": None
        if error is None
        else _error(error.name, error.message, error.exception_id, error.http_status),
    }


def _error(
    name: str, message: str | None, exception_id: str | None = None, http_status: int | None = None
) -> Mapping[str, object]:
    return {"name": name, "exception_id": exception_id, "message": message, "http_status": http_status}
