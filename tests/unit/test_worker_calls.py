"""Calls that a worker could not make, and their results."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from bridge.app.admin import make_metrics
from bridge.domain.answers import Ambiguous, Blocked, ProviderError, Refused, Unsent
from bridge.domain.circuit_breaker import DOWN_AFTER
from bridge.domain.messages import Delivery
from bridge.domain.submissions import Attempted, Submission
from tests.fakes.ledger import MemoryLedger
from tests.fakes.publisher import FakePublisher
from tests.harness.contract_check import event_of
from tests.harness.waiting import wait_until
from tests.unit.worker_setup import IdleSource, NoGateway, accepted, body_of, worker_on

if TYPE_CHECKING:
    from collections.abc import Callable


class HurriedGateway(NoGateway):
    """A healthy provider, without time for a call for the first claims."""

    def __init__(self, missed: int) -> None:
        self.missed = missed
        self.probes = 0

    def send(self, submission: Submission, *, until: float) -> Attempted:
        """Accept, once there is time."""
        if self.missed:
            self.missed -= 1
            return Attempted(answer=Unsent(error=ProviderError(name="timeout")), attempts=0)
        return accepted("m")

    def probe(self, *, until: float) -> bool:
        """Count it."""
        self.probes += 1
        return True


def test_call_without_remaining_time_is_not_an_attempt_an_event_or_a_failure() -> None:
    crashed = threading.Event()
    publisher, source, gateway = FakePublisher(), IdleSource(), HurriedGateway(missed=DOWN_AFTER + 1)
    worker = worker_on(MemoryLedger(), crashed, publisher, gateway)
    worker.start(source)
    worker.receive(Delivery(body_of("a"), tag=(1, 1)))
    wait_until(lambda: source.settled)
    problem = worker.problem
    worker.stop(grace=10)
    publisher.close()

    assert gateway.missed == 0
    assert [message.routing_key for message in publisher.taken] == ["sms.outbound.sent"]
    assert event_of(publisher.taken[0].body)["data"]["attempts"] == 1
    assert (problem, gateway.probes) == (None, 0)
    assert not crashed.is_set()


class BusyGateway(NoGateway):
    """A provider without time for a submission before that expires."""

    def send(self, submission: Submission, *, until: float) -> Attempted:
        """Wait until then without a call."""
        expires_at = submission.expires_at
        assert expires_at is not None
        wait_until(lambda: time.time() > expires_at)
        return Attempted(answer=Unsent(error=ProviderError(name="timeout")), attempts=0)


def test_submission_that_expires_while_it_waits_for_its_call_is_expired() -> None:
    crashed = threading.Event()
    publisher, source = FakePublisher(), IdleSource()
    worker = worker_on(MemoryLedger(), crashed, publisher, BusyGateway())
    worker.start(source)
    expires = datetime.fromtimestamp(time.time() + 0.5, UTC).isoformat()
    worker.receive(Delivery(body_of("otp", expires_at=expires), tag=(1, 1)))
    wait_until(lambda: source.settled)
    worker.stop(grace=10)
    publisher.close()

    assert [message.routing_key for message in publisher.taken] == ["sms.outbound.expired"]
    assert event_of(publisher.taken[0].body)["data"]["attempts"] == 0
    assert not crashed.is_set()


class RefusingGateway(NoGateway):
    """A provider that refuses the account for the first calls to one number."""

    def __init__(self, refused: str, times: int) -> None:
        self.refused = refused
        self.times = times
        self.called: list[str] = []

    def send(self, submission: Submission, *, until: float) -> Attempted:
        """Record the recipient."""
        self.called.append(submission.command_id or "")
        if submission.command_id == self.refused and self.times:
            self.times -= 1
            error = ProviderError(name="policyException", exception_id="POL1009", http_status=403)
            return Attempted(answer=Blocked(error=error), attempts=1)
        return accepted(submission.command_id)


def test_submission_refused_for_the_account_lets_others_go_first() -> None:
    crashed = threading.Event()
    publisher, source, gateway = FakePublisher(), IdleSource(), RefusingGateway("a", times=1)
    worker = worker_on(MemoryLedger(), crashed, publisher, gateway)
    with capture_logs() as lines:
        worker.start(source)
        for number, command_id in enumerate("abc"):
            worker.receive(Delivery(body_of(command_id), tag=(1, number)))
        wait_until(lambda: len(source.settled) == 3)
        worker.stop(grace=10)
    publisher.close()

    assert gateway.called == ["a", "b", "c", "a"]
    (blocked,) = [line for line in lines if line["event"] == "call.blocked"]
    assert (blocked["command_id"], blocked["index"]) == ("a", 0)
    assert blocked["reason"].startswith("the provider refuses the account: POL1009: ")
    assert not crashed.is_set()


class FailingGateway(NoGateway):
    """A provider that fails each call with the next of some failures."""

    def __init__(self, *failures: Attempted) -> None:
        self.failures = list(failures)

    def send(self, submission: Submission, *, until: float) -> Attempted:
        """Fail in the next way."""
        return self.failures.pop(0)


REFUSAL = ProviderError(
    name="serviceException", exception_id="SVC0002", message="Invalid +16131234567", http_status=400
)


def lines_of(
    failure: Attempted, command_id: str = "order-4711000123", **changes: str
) -> list[dict[str, object]]:
    """Return the log of a worker for one command whose call fails like this, until it is settled."""
    publisher, source = FakePublisher(), IdleSource()
    worker = worker_on(MemoryLedger(), threading.Event(), publisher, FailingGateway(failure))
    with capture_logs() as lines:
        worker.start(source)
        worker.receive(Delivery(body_of(command_id, **changes), tag=(1, 1)))
        wait_until(lambda: source.settled)
        worker.stop(grace=10)
    publisher.close()
    return [dict(line) for line in lines if line["event"].startswith(("attempt.", "submission.", "command."))]


def test_each_attempt_that_fails_and_the_end_are_logged_with_their_reason() -> None:
    timeout = ProviderError(name="timeout", message="no answer in time")
    failed, again, ended = lines_of(Attempted(answer=Refused(error=REFUSAL), attempts=2, repeated=(timeout,)))

    assert (failed["event"], failed["attempt"], failed["answer"]) == ("attempt.failed", 1, "unsent")
    assert (failed["error"], failed["http_status"]) == ("no answer in time", None)
    assert (again["attempt"], again["answer"]) == (2, "refused")
    for line in (again, ended):
        assert line["command_id"] == "order-4711000123"
        assert line["error"] == "SVC0002: invalid input value for a message part"
        assert line["http_status"] == 400
    assert (ended["event"], ended["outcome"], ended["log_level"]) == (
        "submission.ended",
        "rejected",
        "warning",
    )


def test_attempt_in_doubt_is_a_warning_without_text_of_the_provider() -> None:
    failed, *_ = lines_of(Attempted(answer=Ambiguous(error=replace(REFUSAL, http_status=500)), attempts=1))

    assert (failed["event"], failed["answer"], failed["log_level"]) == (
        "attempt.failed",
        "ambiguous",
        "warning",
    )
    assert failed["http_status"] == 500
    assert "6131234567" not in str(failed)


def test_sent_message_is_not_a_warning() -> None:
    (ended,) = lines_of(accepted("m"))

    assert (ended["event"], ended["outcome"], ended["log_level"]) == ("submission.ended", "sent", "info")
    assert "error" not in ended


def test_command_that_is_invalid_is_a_warning_with_its_id() -> None:
    (invalid,) = lines_of(accepted("m"), "20261130001234", send_at="tomorrow")

    assert (invalid["event"], invalid["log_level"]) == ("command.invalid", "warning")
    assert invalid["command_id"] == "20261130001234"
    assert "such as 2026-01-31T09:30:00Z" in str(invalid["reasons"])


@pytest.mark.parametrize(
    ("timestamp_at", "age"),
    [
        (lambda _: 0, 0.0),
        (lambda now: now * 1000, 0.0),
        (lambda now: now + 86_400, 0.0),
        (lambda now: now - 90, 90.0),
        (lambda now: now - 30 * 86_400, 30 * 86_400.0),
    ],
    ids=["zero", "milliseconds", "ahead", "90 s ago", "a month ago"],
)
def test_impossible_timestamp_does_not_count_as_the_age_of_a_command(
    timestamp_at: Callable[[int], int], age: float
) -> None:
    metrics, publisher, source = make_metrics(), FakePublisher(), IdleSource()
    worker = worker_on(
        MemoryLedger(), threading.Event(), publisher, FailingGateway(accepted("m")), metrics=metrics
    )
    properties = {"timestamp": timestamp_at(int(time.time()))}
    delivery = Delivery(body_of("a"), tag=(1, 1), properties=properties)
    worker.receive(delivery)
    held = worker.state().oldest_at
    worker.start(source)
    wait_until(lambda: source.settled)
    worker.stop(grace=10)
    publisher.close()
    called = metrics.registry.get_sample_value("sms_bridge_command_age_at_call_seconds_sum") or 0.0

    assert (held is None) == (age == 0.0)
    assert age <= called < age + 60
