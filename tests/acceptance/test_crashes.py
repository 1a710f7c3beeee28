"""Whatever ends in the middle of its work, a worker, the broker or what lies between: one SMS, one outcome."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from bridge.domain.events import TERMINAL
from tests.acceptance.bench import Bench, text_of
from tests.harness.chaos_proxy import DOWN, UP, ChaosProxy
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge
    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

#: Calls at once, so also how many a kill may leave in doubt.
CONCURRENCY = 4


@pytest.fixture
def bench(amqp: BrokerClient, provider: Provider) -> Bench:
    """Return a service's view of what the test starts."""
    return Bench(amqp, provider)


@pytest.fixture
def impatient(env: dict[str, str]) -> dict[str, str]:
    """Return a configuration in which everything that is lost is noticed soon."""
    return {
        **env,
        "BRIDGE_CPAAS__READ_TIMEOUT": "1",
        "BRIDGE_CPAAS__TOTAL_TIMEOUT": "2",
        "BRIDGE_WORKER__LEASE": "3",
        "BRIDGE_WORKER__CONCURRENCY": str(CONCURRENCY),
        "BRIDGE_BROKER__HEARTBEAT": "2",
        "BRIDGE_BROKER__CONNECT_TIMEOUT": "1",
        "BRIDGE_BROKER__PUBLISH_DEADLINE": "2",
    }


def load(bench: Bench, name: str, number: int = 24) -> list[str]:
    """Publish commands and return their ids."""
    ids = [f"{name} {index}" for index in range(number)]
    for command_id in ids:
        bench.send(command_id)
    return ids


def words_of(bench: Bench, ids: Iterable[str], within: float = 30) -> dict[str, str]:
    """Wait for the outcome of each command; however often it was told, it is one."""
    ids = set(ids)

    def published() -> dict[str, str]:
        outcomes = [m for m in bench.events.look() if m.routing_key in TERMINAL]
        # One event id for each command, with the same bytes each time.
        assert len({m.json["subject"] for m in outcomes}) == len({m.json["id"] for m in outcomes})
        assert len({m.body for m in outcomes}) == len({m.json["id"] for m in outcomes})
        return {m.json["subject"]: m.routing_key.rpartition(".")[2] for m in outcomes}

    try:
        wait_until(lambda: ids <= published().keys(), within)
    except AssertionError as late:
        raise AssertionError(f"{late}; without an outcome: {ids - published().keys()}") from None
    return {command_id: word for command_id, word in published().items() if command_id in ids}


def assert_each_sent_once(bench: Bench, ids: Iterable[str]) -> None:
    """Check that each command ends in `sent` and was one SMS."""
    words = words_of(bench, ids)
    texts = bench.provider.texts()

    assert set(words.values()) == {"sent"}
    assert {texts.count(text_of(command_id)) for command_id in words} == {1}


def test_killed_workers_lose_nothing_and_send_nothing_twice(
    bridge_process: StartBridge, impatient: Mapping[str, str], bench: Bench
) -> None:
    bench.provider.settings(latency=0.15)
    worker = bridge_process("worker", env=impatient)
    ids = load(bench, "killed", 40)
    kills = (3, 10, 17)
    for sends in kills:
        wait_until(lambda sends=sends: len(bench.provider.journal()) >= sends, within=20)  # type: ignore[misc]
        worker.stop(signal.SIGKILL)
        worker = bridge_process("worker", env=impatient, ready=False)
    words = words_of(bench, ids, within=60)
    texts = bench.provider.texts()

    assert dict.fromkeys(ids, "sent") == words
    assert dict.fromkeys(ids, 1) == {command_id: texts.count(text_of(command_id)) for command_id in ids}
    assert bench.dead.look() == []


@pytest.mark.long
def test_a_broker_that_goes_away_costs_nothing(
    bridge_process: StartBridge, impatient: Mapping[str, str], bench: Bench, rabbitmq: Broker, vhost: str
) -> None:
    bench.provider.settings(latency=0.1)
    worker = bridge_process("worker", env=impatient)
    ids: list[str] = []
    troubles: dict[str, Callable[[], object]] = {
        "closed": lambda: rabbitmq.close_connections(vhost),
        "killed": rabbitmq.restart,
        "stopped": lambda: rabbitmq.restart(gracefully=True),
    }
    for name, problem in troubles.items():
        sent = len(bench.provider.journal())
        ids += load(bench, name)
        wait_until(lambda sent=sent: len(bench.provider.journal()) >= sent + 6)  # type: ignore[misc]
        problem()
        worker.wait_ready()
        words_of(bench, ids)

    assert_each_sent_once(bench, ids)
    assert worker.stop(signal.SIGTERM) == 0
    assert bench.amqp.depth("sms.send") == 0
    assert bench.dead.look() == []


def test_a_queue_that_was_deleted_is_declared_and_consumed_again(
    bridge_process: StartBridge, impatient: Mapping[str, str], bench: Bench
) -> None:
    worker = bridge_process("worker", env=impatient)
    for queue in ("sms.send", "sms.dead"):
        bench.amqp.delete(queue)
    wait_until(lambda: bench.amqp.exists("sms.send") and bench.amqp.consumers("sms.send") == 1)
    worker.wait_ready()
    body = bench.send("afterwards", destination_address="+19995550100")

    assert bench.outcome("afterwards")[0] == "rejected"
    assert len(bench.letters(body)) == 1


@pytest.mark.long
def test_a_bad_line_to_the_broker_costs_nothing(
    bridge_process: StartBridge, impatient: Mapping[str, str], bench: Bench, rabbitmq: Broker
) -> None:
    bench.provider.settings(latency=0.1)
    with ChaosProxy(("127.0.0.1", rabbitmq.port)) as proxy:
        url = impatient["BRIDGE_BROKER__URL"].replace(f":{rabbitmq.port}/", f":{proxy.port}/")
        worker = bridge_process("worker", env={**impatient, "BRIDGE_BROKER__URL": url})
        ids: list[str] = []
        troubles: dict[str, Callable[[], object]] = {
            "reset": proxy.reset,
            "cut above": lambda: proxy.cut_after(700, UP),
            "cut below": lambda: proxy.cut_after(500, DOWN),
            "half open": proxy.black_hole,
        }
        for name, problem in troubles.items():
            sent = len(bench.provider.journal())
            ids += load(bench, name, 16)
            wait_until(lambda sent=sent: len(bench.provider.journal()) >= sent + 4)  # type: ignore[misc]
            before = proxy.counters.connections
            problem()
            # The silent one too is given up and made again.
            wait_until(lambda before=before: proxy.counters.connections > before)  # type: ignore[misc]
            if name == "half open":
                proxy.pass_through()
                proxy.reset()
            words_of(bench, ids)
        worker.wait_ready()

        assert_each_sent_once(bench, ids)
        assert proxy.counters.cuts == 2
        assert all(proxy.counters.swallowed.values())
        assert worker.stop(signal.SIGTERM) == 0
    assert bench.amqp.depth("sms.send") == 0
