"""Views of a command in the ledger: for operators, and for the service that submitted it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bridge.domain.events import rfc3339

if TYPE_CHECKING:
    from bridge.domain.ledger import CommandRecord, SubmissionRecord


#: The keys that services see of a command and of each submission; `submit.openapi.json` describes them.
COMMAND_KEYS = ("id", "created_at", "updated_at")
SUBMISSION_KEYS = ("index", "state", "attempts", "first_attempt_at", "retry_at", "message_id", "replay")
#: The keys of an outcome's `data` that repeat the command. They are not shown, since other services may know the id.
SAID = frozenset({"message", "metadata"})


def to_operators(record: CommandRecord) -> dict[str, Any]:
    """Return the operator's view. It leaves out the events, which contain the phone number and the text."""
    return {
        "id": record.id,
        "created_at": _time(record.created_at),
        "updated_at": _time(record.updated_at),
        "version": record.version,
        "submissions": [_submission(submission) for submission in record.submissions.values()],
    }


def to_senders(record: CommandRecord) -> dict[str, Any]:
    """Return the service's view: the state of a command, and the outcome of each submission that has one."""
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
    """Return the event of the current outcome, without the keys that repeat the command."""
    if submission.outcome is None or submission.stored_event is None:
        return None
    event = json.loads(submission.stored_event.body)
    data = {key: value for key, value in event["data"].items() if key not in SAID}
    return {"id": event["id"], "type": event["type"], "time": event["time"], "data": data}


def _time(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)
