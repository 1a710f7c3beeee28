"""The judge itself: it must be able to say no, to each promise."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.faults.verdict import Run, judge
from tests.peer import Message


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


def test_a_run_that_kept_its_word_has_no_violation() -> None:
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
def test_each_broken_promise_is_named(broken: Run, promise: str) -> None:
    assert any(violation.startswith(f"{promise}:") for violation in judge(broken).violations)


def test_an_event_that_comes_again_after_a_crash_is_counted_and_no_violation() -> None:
    verdict = judge(replace(GOOD, crashed=True, events=[_event("a"), _event("a")]))

    assert verdict.violations == ()
    assert verdict.duplicate_events == 1
