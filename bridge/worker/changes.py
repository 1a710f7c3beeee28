"""Ledger changes of a delivery: claims, records of answers and history lookups, a new version.

Pure functions from the parsed delivery and the results of actions to changes of `bridge.domain.ledger`. Times are in
seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.domain.addresses import DEFAULT_SENDER
from bridge.domain.answers import Accepted
from bridge.domain.commands import SendSms
from bridge.domain.evidence import Evidence
from bridge.domain.judgement import Judgement, judge
from bridge.domain.ledger import Claim, IncludeInCopy, NewVersion, NextStep, RecordAnswer, Resolve
from bridge.domain.match_keys import text_key
from bridge.domain.outcomes import SubmissionResult
from bridge.domain.submissions import Submission

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.domain.answers import Answer
    from bridge.domain.deliveries import Received
    from bridge.domain.ledger import Call, Change, Lookup
    from bridge.domain.outcome_messages import SendRules
    from bridge.worker.actions import Answered, HistoryRead


def command(received: Received) -> SendSms:
    """Return the command of a delivery that is valid."""
    parsed = received.parsed
    assert isinstance(parsed, SendSms)  # noqa: S101
    return parsed


def command_id_of(received: Received) -> str:
    """Return the id of a valid command, which may be generated."""
    id_ = command(received).id
    assert id_ is not None  # noqa: S101
    return id_


def submission_of(received: Received, index: int) -> Submission:
    """Return a submission for a call to the provider."""
    parsed = command(received)
    return Submission(
        command_id=parsed.id,
        index=index,
        destination_address=parsed.destinations[index].wire,
        sender_address=parsed.sender.wire,
        message=parsed.message,
        traceparent=received.traceparent,
        expires_at=parsed.expires_at,
    )


def sought_submission(received: Received, index: int) -> Submission:
    """Return a submission for a history lookup: from any sender if the command names none."""
    submission = submission_of(received, index)
    return (
        submission if command(received).names_sender else replace(submission, sender_address=DEFAULT_SENDER)
    )


def claim(received: Received, index: int, rules: SendRules, *, version: int, owner: str, now: float) -> Claim:
    """Return the claim of a submission, for a delivery with `version` of the command."""
    return Claim(
        command=command(received),
        index=index,
        owner=owner,
        now=now,
        style=rules.style,
        rules=rules.ledger,
        version=version,
        copy_version=received.version,
        delayed=received.delayed,
        redelivered=received.delivery.redelivered,
        published_at=received.published_at,
        replay=received.replay,
        traceparent=received.traceparent,
    )


def record_answer(
    received: Received, index: int, rules: SendRules, *, owner: str, call: Call, answered: Answered
) -> RecordAnswer:
    """Return the record of the provider's answer to a call."""
    return RecordAnswer(
        command=command(received),
        command_id=command_id_of(received),
        index=index,
        owner=owner,
        next_step=_decide(received, index, rules, call, answered),
        now=answered.now,
        style=rules.style,
        evidence=_evidence(received, index, answered.attempted.answer, answered.now),
        receipts=rules.ledger.receipts,
        traceparent=received.traceparent,
    )


def record_lookup(
    received: Received, index: int, rules: SendRules, *, owner: str, lookup: Lookup, found: HistoryRead
) -> Resolve:
    """Return the record of a history lookup."""
    return Resolve(
        command=command(received),
        command_id=command_id_of(received),
        index=index,
        owner=owner,
        reading=found.reading,
        since=lookup.since,
        now=found.now,
        style=rules.style,
        rules=rules.ledger,
        traceparent=received.traceparent,
    )


def begin_version(received: Received, version: int, waiting: Iterable[int], *, now: float) -> list[Change]:
    """Return the changes that begin the next version, for a copy that comes back for the `waiting` submissions."""
    command_id = command_id_of(received)
    return [
        NewVersion(command_id=command_id, version=version, now=now),
        *(IncludeInCopy(command_id=command_id, index=index) for index in waiting),
    ]


def _decide(received: Received, index: int, rules: SendRules, call: Call, answered: Answered) -> NextStep:
    attempted = answered.attempted
    if not attempted.attempts:
        # No call was made: the lease is nearly over, or the command has expired. The next claim decides.
        return NextStep(outcome=None, result=SubmissionResult(attempts=call.attempts), retry_at=answered.now)
    judgement = Judgement(
        command=command(received),
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
    """Return the message in an answer, for a worker that may have taken the submission over."""
    if not isinstance(answer, Accepted) or answer.message_id is None:
        return None
    return Evidence(
        message_id=answer.message_id,
        sender_address=answer.sender_address,
        destination_address=command(received).destinations[index].wire,
        text_key=text_key(command(received).message),
        sent_at=now,
        status=answer.delivery_status,
    )
