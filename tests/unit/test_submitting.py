"""Submission of commands behind the command API: results, metrics and the log line."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from bridge.adapters.clock import SystemClock
from bridge.domain.commands import CommandRules
from bridge.domain.errors import Invalid
from bridge.domain.ledger import CommandRecord, StoredEvent, SubmissionRecord
from bridge.domain.messages import SubmittedCommand
from bridge.domain.submitted_commands import make_ready
from bridge.ingest.command_intake import CommandIntake, IntakeRules
from bridge.ingest.command_lookup import UNAVAILABLE, NoAnswer
from bridge.ports import OneShotResult
from bridge.ports.http_results import Operation, SubmitResult, Unknown
from tests.fakes.one_shot_publisher import FakeOneShotPublisher

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.ingest.command_lookup import Records
    from bridge.ops.metrics import Metrics

BODY = b'{"id": "a", "destination_address": "+16135550123", "message": "a secret text"}'
RULES = CommandRules()


class FakeLookups:
    """A lookup that responds at once, as `bridge.ingest.command_lookup.Lookups` may."""

    def __init__(self, record: CommandRecord | Exception | NoAnswer | None = None) -> None:
        self.record = record
        self.asked = 0

    def ask(
        self, ask: Callable[[Records], Any], stored_event: Callable[[Any], None], *, timeout: float
    ) -> None:
        assert timeout <= 2
        self.asked += 1
        stored_event(self.record if isinstance(self.record, Exception | NoAnswer) else ask(self))

    def command(self, command_id: str) -> CommandRecord | None:
        assert not isinstance(self.record, Exception | NoAnswer)
        return self.record if self.record is not None and self.record.id == command_id else None

    def content_hash(self, command_id: str) -> bytes | None:
        record = self.command(command_id)
        return None if record is None else record.content_hash

    def close(self) -> None:
        raise AssertionError("it must not be closed")


def make(
    one_shot: FakeOneShotPublisher,
    metrics: Metrics,
    lookups: FakeLookups | None = None,
    *,
    rules: CommandRules = RULES,
    confirm_timeout: float = 5.0,
) -> CommandIntake:
    return CommandIntake(
        one_shot,
        lookups or FakeLookups(),  # type: ignore[arg-type]  # it is asked, and nothing else
        IntakeRules(commands=rules, exchange="sms.commands", confirm_timeout=confirm_timeout),
        SystemClock(),
        metrics,
    )


def record_of(content_hash: bytes, **submission: Any) -> CommandRecord:
    one = SubmissionRecord(index=0, **{"state": "waiting", **submission})
    return CommandRecord(
        id="a", content_hash=content_hash, created_at=1.8e9, updated_at=1.8e9, submissions={0: one}
    )


def hash_of(body: bytes) -> bytes:
    return make_ready(
        SubmittedCommand(body=body), rules=RULES, exchange="sms.commands", now=1.8e9, new_id=str
    ).content_hash


def take(
    submitting: CommandIntake, submitted_command: SubmittedCommand
) -> tuple[str, SubmitResult | Exception, list[Any]]:
    """Submit it; return its id, its result, and the log."""

    async def taken() -> tuple[str, SubmitResult | Exception]:
        stored_event: asyncio.Future[tuple[str, SubmitResult | Exception]] = (
            asyncio.get_running_loop().create_future()
        )
        submitting.take(submitted_command, lambda id_, result: stored_event.set_result((id_, result)))
        return await asyncio.wait_for(stored_event, 10)

    with capture_logs() as lines:
        id_, result = asyncio.run(taken())
    return id_, result, list(lines)


def counted(metrics: Metrics) -> dict[tuple[str, int], float]:
    """Return the counts by operation and status."""
    found = {key: counter._value.get() for key, counter in metrics.submits.items()}
    return {key: value for key, value in found.items() if value}


def test_confirmed_command_is_queued_and_leaves_one_line_without_number_or_text(metrics: Metrics) -> None:
    one_shot = FakeOneShotPublisher()
    id_, result, lines = take(make(one_shot, metrics), SubmittedCommand(body=BODY, client="192.0.2.1"))
    (line,) = lines

    assert (id_, result) == ("a", SubmitResult.QUEUED)
    assert [message.body for message in one_shot.published] == [BODY]
    assert (line["event"], line["command_id"], line["status"]) == ("command.queued", "a", 202)
    assert (line["destinations"], line["client"]) == (1, "192.0.2.1")
    assert "secret" not in str(lines)
    assert "613555" not in str(lines)
    assert counted(metrics) == {("submit", 202): 1}
    assert metrics.registry.get_sample_value("sms_bridge_submit_to_confirm_seconds_count") == 1


@pytest.mark.parametrize(
    ("offered", "result"),
    [
        (OneShotResult.UNROUTABLE, SubmitResult.UNROUTABLE),
        (OneShotResult.NOT_TAKEN, SubmitResult.UNCONFIRMED),
    ],
)
def test_command_that_the_broker_refuses_is_refused(
    offered: OneShotResult, result: SubmitResult, metrics: Metrics
) -> None:
    _, stored_event, lines = take(make(FakeOneShotPublisher(offered), metrics), SubmittedCommand(body=BODY))

    assert stored_event is result
    assert [(line["event"], line["reason"]) for line in lines] == [("command.refused", result.name.lower())]
    assert counted(metrics) == {("submit", 503): 1}


def test_nothing_is_published_and_no_request_waits_while_the_broker_is_unavailable(metrics: Metrics) -> None:
    one_shot, lookups = FakeOneShotPublisher(), FakeLookups()
    one_shot.available = False

    assert take(make(one_shot, metrics, lookups), SubmittedCommand(body=BODY))[1] is SubmitResult.UNAVAILABLE
    assert (one_shot.published, lookups.asked) == ([], 0)


def test_late_confirm_is_ignored(metrics: Metrics) -> None:
    one_shot = FakeOneShotPublisher(answer=None)
    submitting = make(one_shot, metrics, confirm_timeout=0.05)
    results: list[SubmitResult | Exception] = []

    async def late() -> None:
        submitting.take(SubmittedCommand(body=BODY), lambda _, result: results.append(result))
        async with asyncio.timeout(10):
            while not results:
                await asyncio.sleep(0.01)
        one_shot.answered[0](OneShotResult.TAKEN)
        await asyncio.sleep(0.02)

    asyncio.run(late())

    assert results == [SubmitResult.UNCONFIRMED]
    assert counted(metrics) == {("submit", 503): 1}


def test_id_that_the_ledger_knows_with_other_content_is_a_conflict(metrics: Metrics) -> None:
    one_shot = FakeOneShotPublisher()
    submitting = make(one_shot, metrics, FakeLookups(record_of(b"another")))

    assert take(submitting, SubmittedCommand(body=BODY))[1] is SubmitResult.CONFLICTING
    assert one_shot.published == []
    assert counted(metrics) == {("submit", 409): 1}


@pytest.mark.parametrize("known", [record_of(hash_of(BODY)), None, UNAVAILABLE], ids=["same", "none", "away"])
def test_command_without_a_conflict_in_the_ledger_is_published(known: Any, metrics: Metrics) -> None:
    assert (
        take(make(FakeOneShotPublisher(), metrics, FakeLookups(known)), SubmittedCommand(body=BODY))[1]
        is SubmitResult.QUEUED
    )


def test_unexpected_exception_is_raised_to_the_caller(metrics: Metrics) -> None:
    mistake = KeyError("x")

    assert (
        take(make(FakeOneShotPublisher(), metrics, FakeLookups(mistake)), SubmittedCommand(body=BODY))[1]
        is mistake
    )


def test_caller_that_got_an_exception_gets_no_later_result(metrics: Metrics) -> None:
    class Broken(FakeLookups):
        def ask(self, ask: Any, stored_event: Any, *, timeout: float) -> None:
            raise KeyError

    results: list[Any] = []

    async def taken() -> None:
        submitting = make(FakeOneShotPublisher(), metrics, Broken(), confirm_timeout=0.02)
        with pytest.raises(KeyError):
            submitting.take(SubmittedCommand(body=BODY), lambda _, result: results.append(result))
        await asyncio.sleep(0.1)

    asyncio.run(taken())

    assert results == []


def test_generated_id_is_not_looked_up(metrics: Metrics) -> None:
    lookups, one_shot = FakeLookups(), FakeOneShotPublisher()
    submitting = make(one_shot, metrics, lookups, rules=CommandRules(allow_missing_id=True))
    id_, result, _ = take(submitting, SubmittedCommand(body=BODY.replace(b'"id": "a", ', b"")))

    assert (result, lookups.asked) == (SubmitResult.QUEUED, 0)
    assert one_shot.published[0].properties["message_id"] == id_


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 400), (BODY.replace(b'"a"', b"null"), 400), (BODY.replace(b"sage", b""), 422)]
)
def test_invalid_command_is_answered_at_once_counted_and_logged(
    body: bytes, status: int, metrics: Metrics
) -> None:
    one_shot = FakeOneShotPublisher()
    with pytest.raises(Invalid), capture_logs() as lines:
        make(one_shot, metrics).take(SubmittedCommand(body=body), lambda _id, _result: None)

    assert [(line["event"], line["status"], line["bytes"]) for line in lines] == [
        ("command.refused", status, len(body))
    ]
    assert one_shot.published == []
    assert counted(metrics) == {("submit", status): 1}


def test_unauthenticated_requests_are_counted_and_logged_once_a_minute(metrics: Metrics) -> None:
    submitting = make(FakeOneShotPublisher(), metrics)
    with capture_logs() as lines:
        for _ in range(100):
            submitting.refused(Operation.SHOW, 401, "192.0.2.1")
        submitting.refused(Operation.NONE, 404, None)

    assert [(line["status"], line["client"]) for line in lines] == [(401, "192.0.2.1"), (404, None)]
    assert counted(metrics) == {("show", 401): 100, ("none", 404): 1}


def shown(submitting: CommandIntake, command_id: str = "a") -> Any:
    stored_event: list[Any] = []
    submitting.show(command_id, stored_event.append)
    return stored_event[0]


EVENT = {
    "id": "e1", "type": "sms.outbound.sent", "time": "2027-01-15T08:00:00.000Z", "subject": "a",
    "data": {"command_id": "a", "message": "a secret text", "metadata": {"k": "v"}, "segments": 1},
}  # fmt: skip


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("sent", {"id": "e1", "type": EVENT["type"], "time": EVENT["time"],
                  "data": {"command_id": "a", "segments": 1}}),
        # Replayed after its end: the published outcome is no longer valid.
        ("waiting", None),
    ],
)  # fmt: skip
def test_command_is_shown_with_its_outcome_and_without_its_text(
    state: str, outcome: Any, metrics: Metrics
) -> None:
    stored_event = StoredEvent(event_id="e1", body=json.dumps(EVENT).encode())
    record = record_of(
        b"", state=state, attempts=2, message_id="m1", retry_at=1.8e9, stored_event=stored_event, owner="w"
    )
    said = json.loads(shown(make(FakeOneShotPublisher(), metrics, FakeLookups(record))))

    assert said == {
        "id": "a",
        "created_at": "2027-01-15T08:00:00.000Z",
        "updated_at": "2027-01-15T08:00:00.000Z",
        "submissions": [
            {
                "index": 0,
                "state": state,
                "attempts": 2,
                "first_attempt_at": None,
                "retry_at": "2027-01-15T08:00:00.000Z",
                "message_id": "m1",
                "replay": 0,
                "outcome": outcome,
            }
        ],
    }
    assert counted(metrics) == {("show", 200): 1}


@pytest.mark.parametrize(
    ("known", "command_id", "found"),
    [
        (None, "a", Unknown.UNKNOWN),
        (UNAVAILABLE, "a", Unknown.UNAVAILABLE),
        (UNAVAILABLE, "x" * 129, Unknown.UNKNOWN),
        (UNAVAILABLE, "\0", Unknown.UNKNOWN),
    ],
)
def test_command_that_cannot_be_shown_has_a_reason(
    known: Any, command_id: str, found: Unknown, metrics: Metrics
) -> None:
    with capture_logs() as lines:
        assert shown(make(FakeOneShotPublisher(), metrics, FakeLookups(known)), command_id) is found

    assert [line["event"] for line in lines] == ["command.shown"]
