"""What stands behind the door for commands: what is told of each, what is counted, and the one line of the log."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from bridge.adapters.clock import SystemClock
from bridge.domain.commands import CommandRules
from bridge.domain.errors import Invalid
from bridge.domain.ledger import CommandRecord, SubmissionRecord, Told
from bridge.domain.messages import Handed
from bridge.domain.submitted_commands import make_ready
from bridge.ingest.command_intake import CommandIntake, IntakeRules
from bridge.ingest.command_lookup import AWAY, NoAnswer
from bridge.ops.metrics import Metrics
from bridge.ports import Offered
from bridge.ports.serving import Fate, Operation, Unknown
from tests.fakes.offering import FakeOffering

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.ingest.command_lookup import Records

BODY = b'{"id": "a", "destination_address": "+16135550123", "message": "a secret text"}'
RULES = CommandRules()


class FakeLookups:
    """Answers at once, as `bridge.ingest.command_lookup.Lookups` may."""

    def __init__(self, record: CommandRecord | Exception | NoAnswer | None = None) -> None:
        self.record = record
        self.asked = 0

    def ask(self, ask: Callable[[Records], Any], told: Callable[[Any], None], *, patience: float) -> None:
        assert patience <= 2
        self.asked += 1
        told(self.record if isinstance(self.record, Exception | NoAnswer) else ask(self))

    def command(self, command_id: str) -> CommandRecord | None:
        assert not isinstance(self.record, Exception | NoAnswer)
        return self.record if self.record is not None and self.record.id == command_id else None

    def content_hash(self, command_id: str) -> bytes | None:
        record = self.command(command_id)
        return None if record is None else record.content_hash

    def close(self) -> None:
        raise AssertionError("nobody is to close it")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="0.0.0")


def make(
    offering: FakeOffering,
    metrics: Metrics,
    lookups: FakeLookups | None = None,
    *,
    rules: CommandRules = RULES,
    confirm_timeout: float = 5.0,
) -> CommandIntake:
    return CommandIntake(
        offering,
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
        Handed(body=body), rules=RULES, exchange="sms.commands", now=1.8e9, new_id=str
    ).content_hash


def take(submitting: CommandIntake, handed: Handed) -> tuple[str, Fate | Exception, list[Any]]:
    """Hand it over; return its id, its fate, and what was logged."""

    async def taken() -> tuple[str, Fate | Exception]:
        told: asyncio.Future[tuple[str, Fate | Exception]] = asyncio.get_running_loop().create_future()
        submitting.take(handed, lambda id_, fate: told.set_result((id_, fate)))
        return await asyncio.wait_for(told, 10)

    with capture_logs() as lines:
        id_, fate = asyncio.run(taken())
    return id_, fate, list(lines)


def counted(metrics: Metrics) -> dict[tuple[str, int], float]:
    """Return what was counted, by operation and status."""
    found = {key: counter._value.get() for key, counter in metrics.submits.items()}
    return {key: value for key, value in found.items() if value}


def test_a_confirmed_command_is_queued_and_leaves_one_line_without_number_or_text(metrics: Metrics) -> None:
    offering = FakeOffering()
    id_, fate, lines = take(make(offering, metrics), Handed(body=BODY, client="192.0.2.1"))
    (line,) = lines

    assert (id_, fate) == ("a", Fate.QUEUED)
    assert [message.body for message in offering.offered] == [BODY]
    assert (line["event"], line["command_id"], line["status"]) == ("command.queued", "a", 202)
    assert (line["destinations"], line["client"]) == (1, "192.0.2.1")
    assert "secret" not in str(lines)
    assert "613555" not in str(lines)
    assert counted(metrics) == {("submit", 202): 1}
    assert metrics.registry.get_sample_value("sms_bridge_submit_to_confirm_seconds_count") == 1


@pytest.mark.parametrize(
    ("offered", "fate"),
    [(Offered.UNROUTABLE, Fate.UNROUTABLE), (Offered.NOT_TAKEN, Fate.UNCONFIRMED)],
)
def test_what_the_broker_does_not_take_is_refused(offered: Offered, fate: Fate, metrics: Metrics) -> None:
    _, told, lines = take(make(FakeOffering(offered), metrics), Handed(body=BODY))

    assert told is fate
    assert [(line["event"], line["reason"]) for line in lines] == [("command.refused", fate.name.lower())]
    assert counted(metrics) == {("submit", 503): 1}


def test_while_the_broker_is_away_nothing_is_offered_and_nobody_waits(metrics: Metrics) -> None:
    offering, lookups = FakeOffering(), FakeLookups()
    offering.available = False

    assert take(make(offering, metrics, lookups), Handed(body=BODY))[1] is Fate.AWAY
    assert (offering.offered, lookups.asked) == ([], 0)


def test_a_confirm_that_comes_too_late_is_told_nobody(metrics: Metrics) -> None:
    offering = FakeOffering(answer=None)
    submitting = make(offering, metrics, confirm_timeout=0.05)
    fates: list[Fate | Exception] = []

    async def late() -> None:
        submitting.take(Handed(body=BODY), lambda _, fate: fates.append(fate))
        async with asyncio.timeout(10):
            while not fates:
                await asyncio.sleep(0.01)
        offering.told[0](Offered.TAKEN)
        await asyncio.sleep(0.02)

    asyncio.run(late())

    assert fates == [Fate.UNCONFIRMED]
    assert counted(metrics) == {("submit", 503): 1}


def test_an_id_that_the_ledger_knows_with_other_content_is_a_conflict(metrics: Metrics) -> None:
    offering = FakeOffering()
    submitting = make(offering, metrics, FakeLookups(record_of(b"another")))

    assert take(submitting, Handed(body=BODY))[1] is Fate.CONFLICTING
    assert offering.offered == []
    assert counted(metrics) == {("submit", 409): 1}


@pytest.mark.parametrize("known", [record_of(hash_of(BODY)), None, AWAY], ids=["same", "none", "away"])
def test_what_the_ledger_knows_nothing_against_is_offered(known: Any, metrics: Metrics) -> None:
    assert take(make(FakeOffering(), metrics, FakeLookups(known)), Handed(body=BODY))[1] is Fate.QUEUED


def test_a_mistake_of_ours_is_handed_on(metrics: Metrics) -> None:
    mistake = KeyError("x")

    assert take(make(FakeOffering(), metrics, FakeLookups(mistake)), Handed(body=BODY))[1] is mistake


def test_who_is_told_of_a_mistake_of_ours_at_once_is_told_nothing_later(metrics: Metrics) -> None:
    class Broken(FakeLookups):
        def ask(self, ask: Any, told: Any, *, patience: float) -> None:
            raise KeyError

    fates: list[Any] = []

    async def taken() -> None:
        submitting = make(FakeOffering(), metrics, Broken(), confirm_timeout=0.02)
        with pytest.raises(KeyError):
            submitting.take(Handed(body=BODY), lambda _, fate: fates.append(fate))
        await asyncio.sleep(0.1)

    asyncio.run(taken())

    assert fates == []


def test_an_id_that_was_made_here_is_nobody_elses_and_not_looked_up(metrics: Metrics) -> None:
    lookups, offering = FakeLookups(), FakeOffering()
    submitting = make(offering, metrics, lookups, rules=CommandRules(allow_missing_id=True))
    id_, fate, _ = take(submitting, Handed(body=BODY.replace(b'"id": "a", ', b"")))

    assert (fate, lookups.asked) == (Fate.QUEUED, 0)
    assert offering.offered[0].properties["message_id"] == id_


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 400), (BODY.replace(b'"a"', b"null"), 400), (BODY.replace(b"sage", b""), 422)]
)
def test_what_is_no_command_is_told_at_once_counted_and_logged(
    body: bytes, status: int, metrics: Metrics
) -> None:
    offering = FakeOffering()
    with pytest.raises(Invalid), capture_logs() as lines:
        make(offering, metrics).take(Handed(body=body), lambda _id, _fate: None)

    assert [(line["event"], line["status"], line["bytes"]) for line in lines] == [
        ("command.refused", status, len(body))
    ]
    assert offering.offered == []
    assert counted(metrics) == {("submit", status): 1}


def test_what_strangers_try_is_counted_and_logged_once_a_minute(metrics: Metrics) -> None:
    submitting = make(FakeOffering(), metrics)
    with capture_logs() as lines:
        for _ in range(100):
            submitting.refused(Operation.SHOW, 401, "192.0.2.1")
        submitting.refused(Operation.NONE, 404, None)

    assert [(line["status"], line["client"]) for line in lines] == [(401, "192.0.2.1"), (404, None)]
    assert counted(metrics) == {("show", 401): 100, ("none", 404): 1}


def shown(submitting: CommandIntake, command_id: str = "a") -> Any:
    told: list[Any] = []
    submitting.show(command_id, told.append)
    return told[0]


EVENT = {
    "id": "e1", "type": "sms.outbound.sent", "time": "2027-01-15T08:00:00.000Z", "subject": "a",
    "data": {"command_id": "a", "message": "a secret text", "metadata": {"k": "v"}, "segments": 1},
}  # fmt: skip


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("sent", {"id": "e1", "type": EVENT["type"], "time": EVENT["time"],
                  "data": {"command_id": "a", "segments": 1}}),
        # Sent back after it had ended: what was told is in force no longer.
        ("waiting", None),
    ],
)  # fmt: skip
def test_a_command_is_shown_with_what_became_of_it_and_without_what_it_says(
    state: str, outcome: Any, metrics: Metrics
) -> None:
    told = Told(event_id="e1", body=json.dumps(EVENT).encode())
    record = record_of(b"", state=state, attempts=2, message_id="m1", retry_at=1.8e9, told=told, owner="w")
    said = json.loads(shown(make(FakeOffering(), metrics, FakeLookups(record))))

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
        (AWAY, "a", Unknown.AWAY),
        (AWAY, "x" * 129, Unknown.UNKNOWN),
        (AWAY, "\0", Unknown.UNKNOWN),
    ],
)
def test_what_cannot_be_shown_says_why(known: Any, command_id: str, found: Unknown, metrics: Metrics) -> None:
    with capture_logs() as lines:
        assert shown(make(FakeOffering(), metrics, FakeLookups(known)), command_id) is found

    assert [line["event"] for line in lines] == ["command.shown"]
