"""What is shown of a command that the ledger knows: to operators, and to the service that handed it over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bridge.domain.events import rfc3339

if TYPE_CHECKING:
    from bridge.domain.ledger import CommandRecord, SubmissionRecord


#: What services learn of a command, and of each of its submissions; `submit.openapi.json` says what it means.
COMMAND_KEYS = ("id", "created_at", "updated_at")
SUBMISSION_KEYS = ("index", "state", "attempts", "first_attempt_at", "retry_at", "message_id", "replay")
#: What of an outcome's `data` its command says itself. It is not shown: others may know its id.
SAID = frozenset({"message", "metadata"})


def to_operators(record: CommandRecord) -> dict[str, Any]:
    """Return what an operator asks about; the events hold number and text, so they are not shown."""
    return {
        "id": record.id,
        "created_at": _time(record.created_at),
        "updated_at": _time(record.updated_at),
        "version": record.version,
        "submissions": [_submission(submission) for submission in record.submissions.values()],
    }


def to_senders(record: CommandRecord) -> dict[str, Any]:
    """Return how far a command is, and the outcome of each submission that has one."""
    shown = to_operators(record)
    return {
        **{key: shown[key] for key in COMMAND_KEYS},
        "submissions": [
            {**{key: one[key] for key in SUBMISSION_KEYS}, "outcome": _outcome(submission)}
            for one, submission in zip(shown["submissions"], record.submissions.values(), strict=True)
        ],
    }


def _submission(submission: SubmissionRecord) -> dict[str, Any]:
    return {
        "index": submission.index,
        "state": submission.state,
        "attempts": submission.attempts,
        "first_attempt_at": _time(submission.first_attempt_at),
        "retry_at": _time(submission.retry_at),
        "owner": submission.owner,
        "lease_until": _time(submission.lease_until),
        "crashes": submission.crashes,
        "replay": submission.replay,
        "message_id": submission.message_id,
        "event_id": None if submission.stored_event is None else submission.stored_event.event_id,
    }


def _outcome(submission: SubmissionRecord) -> dict[str, Any] | None:
    """Return the event of the outcome that is in force, without what its command says itself."""
    if submission.outcome is None or submission.stored_event is None:
        return None
    event = json.loads(submission.stored_event.body)
    data = {key: value for key, value in event["data"].items() if key not in SAID}
    return {"id": event["id"], "type": event["type"], "time": event["time"], "data": data}


def _time(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)
