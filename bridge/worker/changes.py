"""What a delivery has the ledger change: claims, the records of answers and of history lookups, a new version.

Pure functions from what was parsed and what came back to a change of `bridge.domain.ledger`. Times are in seconds since
the epoch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.domain.addresses import DEFAULT_SENDER
from bridge.domain.answers import Accepted
from bridge.domain.deliveries import published_at
from bridge.domain.evidence import Evidence
from bridge.domain.judgement import Judgement, judge
from bridge.domain.ledger import Carry, Claim, File, Filing, HandOver, Resolve
from bridge.domain.likeness import text_key
from bridge.domain.outcomes import Result
from bridge.domain.submissions import Submission

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.domain.answers import Answer
    from bridge.domain.deliveries import Received
    from bridge.domain.ledger import Call, Change, Look
    from bridge.domain.outcome_messages import SendRules
    from bridge.worker.actions import Answered, HistoryRead


def submission_of(received: Received, index: int) -> Submission:
    """Return a submission as it goes to the provider."""
    command = received.command
    return Submission(
        command_id=command.id,
        index=index,
        destination_address=command.destinations[index].wire,
        sender_address=command.sender.wire,
        message=command.message,
        traceparent=received.traceparent,
        expires_at=command.expires_at,
    )


def sought_submission(received: Received, index: int) -> Submission:
    """Return a submission as it is looked up: from any sender where the command does not name one."""
    submission = submission_of(received, index)
    return submission if received.command.names_sender else replace(submission, sender_address=DEFAULT_SENDER)


def claim(received: Received, index: int, rules: SendRules, *, version: int, owner: str, now: float) -> Claim:
    """Return the claim of a submission for the `version` of the command that the delivery speaks for."""
    return Claim(
        command=received.command,
        index=index,
        owner=owner,
        now=now,
        style=rules.style,
        rules=rules.ledger,
        generation=version,
        carried=received.generation,
        delayed=received.delayed,
        redelivered=received.delivery.redelivered,
        published_at=published_at(received.delivery, now),
        replay=received.replay,
        traceparent=received.traceparent,
    )


def record_answer(
    received: Received, index: int, rules: SendRules, *, owner: str, call: Call, answered: Answered
) -> File:
    """Return the record of what the provider answered to a call."""
    return File(
        command=received.command,
        command_id=received.command_id,
        index=index,
        owner=owner,
        filing=_decide(received, index, rules, call, answered),
        now=answered.now,
        style=rules.style,
        evidence=_evidence(received, index, answered.attempted.answer, answered.now),
        receipts=rules.ledger.receipts,
        traceparent=received.traceparent,
    )


def record_lookup(
    received: Received, index: int, rules: SendRules, *, owner: str, look: Look, found: HistoryRead
) -> Resolve:
    """Return the record of what the provider's history shows of a submission."""
    return Resolve(
        command=received.command,
        command_id=received.command_id,
        index=index,
        owner=owner,
        reading=found.reading,
        since=look.since,
        now=found.now,
        style=rules.style,
        rules=rules.ledger,
        traceparent=received.traceparent,
    )


def begin_version(command_id: str, version: int, waiting: Iterable[int], *, now: float) -> list[Change]:
    """Return what begins the version after `version`, for a copy that comes back for the `waiting` submissions."""
    return [
        HandOver(command_id=command_id, generation=version, now=now),
        *(Carry(command_id=command_id, index=index) for index in waiting),
    ]


def _decide(received: Received, index: int, rules: SendRules, call: Call, answered: Answered) -> Filing:
    attempted = answered.attempted
    if not attempted.attempts:
        # No call was made: its lease is nearly over, or it has expired. Its next claim finds out.
        return Filing(outcome=None, result=Result(attempts=call.attempts), retry_at=answered.now)
    judgement = Judgement(
        command=received.command,
        index=index,
        answer=attempted.answer,
        attempts=call.attempts + attempted.attempts,
        attempts_before=call.attempts,
        first_attempt_at=call.first_attempt_at,
        now=answered.now,
        chance=answered.chance,
        traceparent=received.traceparent,
    )
    return judge(judgement, retry=rules.ledger.retry, style=rules.style)


def _evidence(received: Received, index: int, answer: Answer, now: float) -> Evidence | None:
    """Return what an answer proves, for the worker that may have taken the submission over."""
    if not isinstance(answer, Accepted) or answer.message_id is None:
        return None
    return Evidence(
        message_id=answer.message_id,
        sender_address=answer.sender_address,
        destination_address=received.command.destinations[index].wire,
        text_key=text_key(received.command.message),
        sent_at=now,
        status=answer.delivery_status,
    )
