"""Metrics: each is documented, and those read at a scrape have the current values."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from bridge.adapters.clock import SystemClock
from bridge.domain.answers import Accepted, Ambiguous, Blocked, ProviderError, Unsent
from bridge.domain.circuit_breaker import DOWN_AFTER, CircuitBreaker
from bridge.domain.messages import Delivery
from bridge.domain.submissions import Attempted, Submission
from bridge.ops.metrics import Metrics
from bridge.ports import Depth
from bridge.worker.gauges import STOPS, WorkerGauges, WorkerState
from tests.fakes.ledger import MemoryLedger
from tests.fakes.publisher import FakePublisher
from tests.harness.registered_metrics import StillSource, families, state_of
from tests.harness.waiting import wait_until
from tests.unit.worker_setup import IdleSource, NoGateway, body_of, worker_on

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
#: `| sms_bridge_x{labels} kind | meaning | action |`
ROW = re.compile(r"^\| `(sms_bridge_\w+)(?:\{([\w,]+)\})?` (\w+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def rows() -> dict[str, tuple[str, set[str], str, str]]:
    found = ROW.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert len(found) == len({name for name, *_ in found})
    return {
        name: (kind, set(filter(None, labels.split(","))), meaning.strip(), advice.strip())
        for name, labels, kind, meaning, advice in found
    }


def test_each_metric_is_documented_with_its_kind_and_labels() -> None:
    real = {}
    for family in families().values():
        name = {"counter": f"{family.name}_total", "info": f"{family.name}_info"}.get(
            family.type, family.name
        )
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        real[name] = (family.type, labels)

    assert {name: row[:2] for name, row in rows().items()} == real


def test_each_value_of_a_label_is_documented() -> None:
    values = {
        (name, value)
        for family in families().values()
        for name in (family.name, f"{family.name}_total")
        for sample in family.samples
        for label, value in sample.labels.items()
        if label in {"answer", "how", "operation", "result", "state", "why"}
    }
    described = rows()

    assert len(values) > 20
    assert [one for one in values if one[0] in described and f"`{one[1]}`" not in described[one[0]][2]] == []


def test_each_metric_has_a_meaning_and_an_action() -> None:
    assert all(meaning and advice for _, _, meaning, advice in rows().values())


# -- read when scraped -----------------------------------------------------------------------------


def scraped(
    state: WorkerState,
    source: Any = StillSource,
    token: tuple[float, float] | None = (10.0, 290.0),
    now: float = 1000.0,
) -> CollectorRegistry:
    class Clock(SystemClock):
        def now(self) -> float:
            return now

    registry = CollectorRegistry()
    registry.register(WorkerGauges(lambda: state, source(), lambda: token, Clock()))
    return registry


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"sms_bridge_{name}", labels)


def test_known_values_of_queue_and_token_are_exported() -> None:
    registry = scraped(
        state_of(CircuitBreaker.closed(4), commands=2, oldest_at=940.0, limited=1, in_flight=3)
    )

    assert value(registry, "commands_in_flight") == 2
    assert value(registry, "commands_oldest_age_seconds") == 60
    assert value(registry, "commands_rate_limited") == 1
    assert value(registry, "submissions_in_flight") == 3
    assert value(registry, "command_queue_ready") == 3
    assert value(registry, "command_queue_consumers") == 1
    assert value(registry, "token_age_seconds") == 10
    assert value(registry, "token_left_seconds") == 290
    assert value(registry, "circuit_breaker_limit") == 4


def test_unknown_values_are_not_exported() -> None:
    class Lost(StillSource):
        connected = consuming = False
        depth = None

    registry = scraped(state_of(CircuitBreaker.closed(4)), Lost, token=None)

    assert value(registry, "command_queue_ready") is None
    assert value(registry, "token_age_seconds") is None
    assert value(registry, "consuming") == 0
    assert list(text_string_to_metric_families(generate_latest(registry).decode()))  # type: ignore[no-untyped-call]


def test_empty_queue_is_exported_as_0() -> None:
    class Empty(StillSource):
        depth = Depth(0, 0)

    assert value(scraped(state_of(CircuitBreaker.closed(4)), Empty), "command_queue_ready") == 0


@pytest.mark.parametrize("ahead", [0.0, 3600.0])
def test_command_from_the_future_has_no_age(ahead: float) -> None:
    registry = scraped(state_of(CircuitBreaker.closed(4), commands=1, oldest_at=1000.0 + ahead))

    assert value(registry, "commands_oldest_age_seconds") == 0


def half_open() -> CircuitBreaker:
    return CircuitBreaker.closed(4).refused(0.0, "no").probing().probed(1.0, well=True)


@pytest.mark.parametrize(
    ("breaker", "changes", "state", "stops"),
    [
        (CircuitBreaker.closed(4), {}, "closed", set()),
        (CircuitBreaker.closed(4).refused(0.0, "no"), {}, "open", {"account"}),
        (CircuitBreaker.closed(4).refused(0.0, "no").probing(), {}, "open", {"account"}),
        (half_open(), {}, "half_open", set()),
        (half_open().failed(2.0), {}, "open", {"provider"}),
        (CircuitBreaker.closed(4), {"broker": False, "ledger": False}, "closed", {"broker", "ledger"}),
        (CircuitBreaker.closed(4), {"lost": True}, "closed", {"unconfirmed"}),
    ],
)
def test_reason_for_a_pause_is_one_of_a_closed_list(
    breaker: CircuitBreaker, changes: dict[str, bool], state: str, stops: set[str]
) -> None:
    registry = scraped(state_of(breaker, **changes))
    confirmed = {
        name for name in ("closed", "half_open", "open") if value(registry, "circuit_breaker", state=name)
    }

    assert confirmed == {state}
    assert {why for why in STOPS if value(registry, "sending_stopped", why=why)} == stops


def test_broker_is_connected_once_all_connections_to_it_are() -> None:
    metrics = Metrics(version="1")
    is_there = [True, False]

    assert metrics.registry.get_sample_value("sms_bridge_broker_connected") == 0

    metrics.connections += [lambda: is_there[0], lambda: is_there[1]]

    assert metrics.registry.get_sample_value("sms_bridge_broker_connected") == 0

    is_there[1] = True

    assert metrics.registry.get_sample_value("sms_bridge_broker_connected") == 1


# -- a worker --------------------------------------------------------------------------------------


class ScriptedGateway(NoGateway):
    """A provider that returns the test's response, or waits for the test."""

    def __init__(self, *attempts: Attempted) -> None:
        self.attempts = list(attempts)
        self.let_go = threading.Event()

    def send(self, submission: Submission, *, until: float) -> Attempted:
        self.let_go.wait(10)
        return self.attempts.pop(0)

    def probe(self, *, until: float) -> bool:
        return False


ERROR = ProviderError(name="server", http_status=503)
SENT = Accepted(message_id="m", sender_address=None, delivery_status=None, http_status=201)


def test_worker_exports_the_age_of_its_oldest_command() -> None:
    publisher, source = FakePublisher(), IdleSource()
    gateway = ScriptedGateway(Attempted(answer=SENT, attempts=1), Attempted(answer=SENT, attempts=1))
    worker, now = worker_on(MemoryLedger(), threading.Event(), publisher, gateway), int(time.time())
    worker.start(source)
    for number, timestamp in enumerate([now - 100, now - 500]):
        worker.receive(Delivery(body_of(f"c{number}"), tag=(1, number), properties={"timestamp": timestamp}))
    wait_until(lambda: worker.state().in_flight)
    state = worker.state()

    assert (state.commands, state.oldest_at, state.in_flight) == (2, now - 500, 1)

    gateway.let_go.set()
    wait_until(lambda: len(source.settled) == 2)

    assert worker.state()[:4] == (0, None, 0, 0)

    worker.stop(grace=10)
    publisher.close()


@pytest.mark.parametrize(
    ("attempted", "counted", "retries"),
    [
        (Attempted(answer=SENT, attempts=1), {"accepted": 1}, {}),
        (Attempted(answer=SENT, attempts=3), {"accepted": 1, "unsent": 2}, {"immediate": 2}),
        (Attempted(answer=Unsent(error=ERROR), attempts=2), {"unsent": 2}, {"immediate": 1, "delayed": 1}),
        (Attempted(answer=Ambiguous(error=ERROR), attempts=1), {"ambiguous": 1}, {"delayed": 1}),
    ],
)
def test_each_attempt_is_counted_by_its_result(
    attempted: Attempted, counted: dict[str, int], retries: dict[str, int]
) -> None:
    publisher, source, gateway = FakePublisher(), IdleSource(), ScriptedGateway(attempted)
    metrics = Metrics(version="1")
    worker = worker_on(MemoryLedger(), threading.Event(), publisher, gateway, metrics=metrics)
    gateway.let_go.set()
    worker.start(source)
    worker.receive(Delivery(body_of("a"), tag=(1, 1)))
    wait_until(lambda: source.settled)
    worker.stop(grace=10)
    publisher.close()

    def confirmed(name: str, label: str) -> dict[str, int]:
        family = next(one for one in metrics.registry.collect() if one.name == name)
        return {
            s.labels[label]: int(s.value) for s in family.samples if s.name.endswith("_total") and s.value
        }

    assert confirmed("sms_bridge_attempts", "answer") == counted
    assert confirmed("sms_bridge_retries", "how") == retries


@pytest.mark.parametrize(
    ("answers", "why"),
    [([Blocked(error=ERROR)], "account"), ([Ambiguous(error=ERROR)] * DOWN_AFTER, "provider")],
)
def test_worker_exports_why_its_circuit_breaker_is_open(answers: list[Any], why: str) -> None:
    publisher, source = FakePublisher(), IdleSource()
    gateway = ScriptedGateway(*(Attempted(answer=answer, attempts=1) for answer in answers))
    worker = worker_on(MemoryLedger(), threading.Event(), publisher, gateway)
    gateway.let_go.set()
    worker.start(source)
    for number in range(len(answers)):
        worker.receive(Delivery(body_of(f"c{number}"), tag=(1, number)))
    wait_until(lambda: worker.state().stops() == {why})
    worker.stop(grace=10)
    publisher.close()
