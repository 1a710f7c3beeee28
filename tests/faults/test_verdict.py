"""The judge itself: it must be able to say no, to each promise."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bridge.domain.events import event_id
from tests.faults.replays import LedgerRow, Sms, SubmissionId, judge_replays
from tests.faults.verdict import Run, judge
from tests.harness.broker_client import Message


def _event(subject: str, kind: str = "sent", event_id: str = "e1", message_id: str | None = "m1") -> Message:
    body = json.dumps({"subject": subject, "data": {"message_id": message_id}}).encode()
    return Message(
        body=body,
        exchange="sms.events",
        routing_key=f"sms.outbound.{kind}",
        redelivered=False,
        properties={"message_id": event_id},
    )


SENT = {"message": "hello", "message_id": "m1"}
GOOD = Run(commands={"a": "hello"}, journal=[SENT], events=[_event("a")], dead=[], crashed=False)


def test_correct_run_has_no_violation() -> None:
    verdict = judge(GOOD)

    assert verdict.violations == ()
    assert verdict.outcomes == {"sent": 1}


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (replace(GOOD, events=[]), "I1"),
        (replace(GOOD, events=[_event("a"), _event("a", "unknown", "e2")]), "I1"),
        (replace(GOOD, journal=[SENT, SENT]), "I2"),
        (replace(GOOD, journal=[]), "I3"),
        (replace(GOOD, events=[_event("a", message_id="m2")]), "I3"),
        (replace(GOOD, events=[_event("a", "failed")]), "I3"),
        (replace(GOOD, events=[_event("a"), _event("a")]), "I4"),
        (replace(GOOD, crashed=True, events=[_event("a"), _event("a", message_id=None)]), "I4"),
        (replace(GOOD, events=[_event("a"), _event("b")]), "I4"),
        (replace(GOOD, journal=[SENT, {"message": "who?", "message_id": "m2"}]), "I4"),
        (replace(GOOD, journal=[], events=[_event("a", "failed")]), "I4"),
        (replace(GOOD, queued=1), "I6"),
        (replace(GOOD, open_rows=1), "I6"),
        (replace(GOOD, exits=[1]), "I12"),
        (replace(GOOD, leaks=["canary"]), "I13"),
    ],
)
def test_each_violation_is_named(broken: Run, promise: str) -> None:
    assert any(violation.startswith(f"{promise}:") for violation in judge(broken).violations)


def test_event_repeated_after_a_crash_is_counted_and_is_not_a_violation() -> None:
    verdict = judge(replace(GOOD, crashed=True, events=[_event("a"), _event("a")]))

    assert verdict.violations == ()
    assert verdict.duplicate_events == 1


def test_event_after_a_restore_may_repeat_with_another_body_for_the_same_message() -> None:
    found = replace(
        _event("a"),
        body=json.dumps({"subject": "a", "data": {"message_id": "m1", "reconciled": True}}).encode(),
    )
    restored = replace(GOOD, crashed=True, restored=True, events=[_event("a"), found])

    assert judge(restored).violations == ()
    assert judge(replace(restored, restored=False)).violations != ()
    assert judge(replace(restored, events=[_event("a"), _event("a", message_id="m2")])).violations != ()
    assert judge(replace(restored, events=[_event("a"), _event("a", "unknown")])).violations != ()


# -- every life of a submission --------------------------------------------------------------------------------------

PLACE, SMS = SubmissionId("a", 0), Sms(text="hello", destination="+16135550001")
TAKEN = {"message": SMS.text, "destination_address": SMS.destination, "message_id": "m1", "accepted_at": 2000}


def _lifetime(replay_number: int, kind: str, message_id: str | None = "m1") -> Message:
    """Return the outcome of a replay number, published after so many seconds."""
    time = f"1970-01-01T00:00:{replay_number + 1:02}Z"
    body = {"subject": "a", "time": time, "data": {"index": 0, "message_id": message_id}}
    whole = _event("a", kind, event_id("outcome", "a", 0, replay_number))
    return replace(whole, body=json.dumps(body).encode())


def _row(replay_number: int) -> LedgerRow:
    return LedgerRow(
        state="sent", replay_number=replay_number, event_id=event_id("outcome", "a", 0, replay_number)
    )


def _letter(replay_number: int) -> Message:
    return replace(_event("a"), headers={"x-bridge-event-id": event_id("outcome", "a", 0, replay_number)})


#: Failed, and sent by a replay.
TWICE = Run(
    commands={}, journal=[TAKEN], events=[_lifetime(0, "failed"), _lifetime(1, "sent")], dead=[], crashed=True
)


def test_failed_submission_that_its_replay_sent_is_correct() -> None:
    verdict = judge_replays(TWICE, {PLACE: SMS}, {PLACE: _row(1)})

    assert verdict.violations == ()
    assert verdict.outcomes == {"sent": 1}


@pytest.mark.parametrize(
    ("broken", "replay_number", "promise"),
    [
        (replace(TWICE, events=[]), 1, "L1"),
        (replace(TWICE, events=[_lifetime(0, "sent"), _lifetime(1, "sent")]), 1, "L1"),
        (replace(TWICE, events=[_lifetime(0, "failed"), _lifetime(2, "sent")]), 2, "L1"),
        (replace(TWICE, journal=[TAKEN, TAKEN]), 1, "L2"),
        (replace(TWICE, journal=[TAKEN, {**TAKEN, "message": "who?"}]), 1, "L2"),
        (replace(TWICE, journal=[]), 1, "L3"),
        (replace(TWICE, journal=[{**TAKEN, "accepted_at": 500}]), 1, "L3"),
        (replace(TWICE, events=[_lifetime(0, "failed"), _lifetime(1, "sent", "m2")]), 1, "L3"),
        (replace(TWICE, journal=[], events=[_lifetime(0, "failed")]), 0, "L4"),
        (
            replace(
                TWICE, journal=[], events=[_lifetime(0, "failed"), _lifetime(1, "unknown")], dead=[_letter(0)]
            ),
            1,
            "L4",
        ),
        (replace(TWICE, events=[*TWICE.events, _lifetime(1, "sent", None)]), 1, "L4"),
        (TWICE, 0, "L5"),
        (replace(TWICE, queued=1), 1, "L5"),
        (replace(TWICE, open_rows=1), 1, "L5"),
        (replace(TWICE, exits=[1]), 1, "I12"),
        (replace(TWICE, leaks=["canary"]), 1, "I13"),
    ],
)
def test_each_violation_of_a_replay_is_named(broken: Run, replay_number: int, promise: str) -> None:
    violations = judge_replays(broken, {PLACE: SMS}, {PLACE: _row(replay_number)}).violations

    assert any(violation.startswith(f"{promise}:") for violation in violations), violations


def test_command_left_as_a_dead_letter_does_not_count_as_lost() -> None:
    run = replace(TWICE, journal=[], events=[_lifetime(0, "failed")], dead=[_letter(0)])

    assert judge_replays(run, {PLACE: SMS}, {PLACE: _row(0)}).violations == ()
