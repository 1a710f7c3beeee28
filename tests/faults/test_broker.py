"""A broker that stops, freezes, blocks, refuses and forgets, and a network that cuts: B2 to B8 and N1 to N4."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.stack import IN_FLIGHT
from tests.harness.broker_client import COLLECTOR
from tests.harness.chaos_proxy import DOWN, UP, ChaosProxy
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.conftest import MakeScenario
    from tests.faults.scenario import Scenario
    from tests.harness.broker import Broker

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

long = pytest.mark.long
#: A provider that takes its time, so that work is in flight when the fault comes.
SLOW = {"latency": 0.25}


def _pass(scenario: Scenario, seconds: float) -> None:
    """Let time pass under the fault: nothing is to be waited for, for nothing is to happen."""
    with pytest.raises(AssertionError):
        scenario.wait(lambda: False, within=seconds)


def _next_cut(proxy: ChaosProxy) -> Callable[[], bool]:
    before = proxy.counters.cuts
    return lambda: proxy.counters.cuts > before


def _send_until(condition: Callable[[], bool], scenario: Scenario) -> None:
    def sent_and_met() -> bool:
        scenario.send()
        return condition()

    wait_until(sent_and_met, 60, every=0.4, what="a cut")


@long
def test_graceful_restart_and_closed_connections_cost_nothing(make_scenario: MakeScenario) -> None:
    with make_scenario("B2, graceful restart, connections closed", seed=302, provider=SLOW) as scenario:
        scenario.start()
        scenario.broker.settle()
        scenario.crashed = True
        scenario.send_in_background([scenario.command()[1] for _ in range(150)])
        scenario.resumes()
        scenario.broker.restart(gracefully=True)
        scenario.fired["restarts"] += 1
        scenario.resumes()
        for _ in range(3):
            scenario.send_in_background([scenario.command()[1] for _ in range(50)])
            scenario.broker.close_connections(scenario.vhost)
            scenario.fired["connections closed"] += 1
            scenario.resumes()
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 300}
        assert scenario.broker.consumers(scenario.vhost, "sms.send") == 1


@long
def test_frozen_broker_is_left_and_used_again_later(make_scenario: MakeScenario) -> None:
    with make_scenario("B3, frozen for 8 s", seed=303, provider=SLOW) as scenario:
        scenario.start()
        scenario.crashed = True
        scenario.send(100)
        scenario.wait(lambda: scenario.rows(IN_FLIGHT), what="work in flight")
        with scenario.broker.frozen():
            scenario.fired["freezes"] += 1
            _pass(scenario, 8)
        scenario.send(20)
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 120}
        # The broker gives up the connection that was left when that misses its heartbeats.
        scenario.wait(lambda: scenario.broker.consumers(scenario.vhost, "sms.send") == 1, what="one consumer")


@long
@pytest.mark.parametrize("alarm", ["memory", "disk"])
def test_while_the_broker_blocks_publishers_nothing_new_is_called(
    make_scenario: MakeScenario, alarm: str
) -> None:
    with make_scenario(f"B4, {alarm} alarm for 6 s", seed=304, provider={"latency": 0.6}) as scenario:
        worker = scenario.start()
        scenario.crashed = True
        scenario.send(200)
        scenario.wait(lambda: scenario.rows(IN_FLIGHT), what="work in flight")
        blocked = scenario.broker.memory_alarm if alarm == "memory" else scenario.broker.disk_alarm
        with blocked():
            scenario.fired["alarms"] += 1
            scenario.wait(lambda: worker.admin("/readyz")[0] == 503, what="a worker that is not ready")
            _pass(scenario, 1)
            held = scenario.accepted
            _pass(scenario, 5)

            # The prefetch at most.
            assert scenario.accepted - held <= 1
        scenario.send(10)
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 210}


@long
def test_event_that_a_full_queue_refuses_holds_its_command(make_scenario: MakeScenario) -> None:
    with make_scenario("B5, an event queue that is full", seed=305) as scenario:
        worker = scenario.start()
        # Then the others that the event is routed to have it several times.
        scenario.crashed = True
        scenario.amqp.declare_queue("full", {"x-max-length": 1, "x-overflow": "reject-publish"})
        scenario.amqp.bind("full", "sms.events", "#")
        # As many as a worker holds: with these it can do nothing more.
        scenario.send(12)
        scenario.wait(lambda: "broker.nacked" in worker.logs, what="a nack")
        scenario.wait(lambda: scenario.rows("state = 'sent'") == 12, what="outcomes in the ledger")
        _pass(scenario, 2)

        assert scenario.queued() >= 11
        scenario.fired["nacks"] = worker.logs.count("broker.nacked")
        scenario.amqp.delete("full")
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 12}


def test_command_stays_queued_through_a_crash_while_its_outcome_is_not_published(
    make_scenario: MakeScenario,
) -> None:
    with make_scenario("B6, the events exchange is gone", seed=306, BROKER__DECLARE="false") as scenario:
        scenario.declare()
        scenario.start()
        with scenario.amqp.channel() as channel:
            channel.exchange_delete("sms.events")
        scenario.send(12)
        # How many are sent before the first event comes to nothing is a matter of luck: none is sent after it.
        scenario.wait(lambda: scenario.rows("state = 'sent'") >= 1, what="outcomes in the ledger")
        scenario.fired["events without a queue"] = scenario.rows("state = 'sent'")
        _pass(scenario, 1)
        # A message between queue and worker is counted at neither for a moment.
        scenario.wait(lambda: scenario.queued() == 12, what="all commands held or queued")
        scenario.kill()
        scenario.fired["crashes"] += 1
        scenario.amqp.collect()
        scenario.start()
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 12}


@long
def test_event_without_a_bound_queue_goes_to_the_unrouted_queue_and_is_counted(
    make_scenario: MakeScenario,
) -> None:
    with make_scenario("B6, no queue is bound", seed=306) as scenario:
        scenario.start()
        scenario.amqp.unbind(COLLECTOR, "sms.events", "#")
        scenario.send(20)
        scenario.wait(lambda: scenario.amqp.depth("sms.unrouted") == 20, what="events kept aside")
        scenario.fired["unrouted events"] = 20
        scenario.amqp.collect()
        for message in scenario.amqp.take("sms.unrouted", 20):
            published = {"message_id": message.properties["message_id"], "type": message.properties["type"]}
            scenario.amqp.publish(
                message.body, exchange="sms.events", routing_key=published["type"], **published
            )
        scenario.send(1)
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 21}


@long
def test_worker_whose_queue_is_deleted_declares_it_again_and_consumes(make_scenario: MakeScenario) -> None:
    with make_scenario("B7, the command queue is deleted", seed=307) as scenario:
        scenario.start()
        scenario.send(20)
        scenario.wait_confirmed()
        for _ in range(3):
            scenario.wait(lambda: scenario.queued() == 0, what="the acks")
            scenario.amqp.delete("sms.send")
            scenario.fired["deletions"] += 1
            scenario.wait(lambda: scenario.amqp.exists("sms.send"), what="the queue again")
            scenario.wait(lambda: scenario.amqp.consumers("sms.send") == 1, what="a consumer")
            scenario.send(20)
            scenario.wait_confirmed()
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 80}


@long
def test_cuts_at_any_byte_of_the_connection_cost_nothing(
    make_scenario: MakeScenario, rabbitmq: Broker
) -> None:
    with (
        ChaosProxy(("127.0.0.1", rabbitmq.port)) as proxy,
        make_scenario("N1, 24 cuts at random bytes", seed=401, port=proxy.port) as scenario,
    ):
        scenario.start()
        scenario.crashed = True
        for _ in range(12):
            scenario.send(12)
            for direction in (UP, DOWN):
                is_cut = _next_cut(proxy)
                proxy.cut_after(scenario.chance.randint(1, 4000), direction)
                # Each adds bytes in both directions, in any state of the connections.
                _send_until(is_cut, scenario)
        proxy.reset()
        proxy.finish()
        scenario.fired["cuts"] = proxy.counters.cuts
        scenario.fired["resets"] = proxy.counters.resets
        verdict = scenario.kept()

        assert set(verdict.outcomes) == {"sent"}


@pytest.mark.parametrize(
    "directions",
    [
        pytest.param((UP, DOWN), id="both ways"),
        pytest.param((DOWN,), id="confirms lost", marks=long),
        pytest.param((UP,), id="acks lost", marks=long),
    ],
)
def test_half_open_connection_is_detected_and_costs_nothing(
    make_scenario: MakeScenario, rabbitmq: Broker, directions: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    with (
        ChaosProxy(("127.0.0.1", rabbitmq.port)) as proxy,
        make_scenario(
            f"N2/N3, black hole, {request.node.callspec.id}", seed=402, port=proxy.port, provider=SLOW
        ) as scenario,
    ):
        scenario.start()
        scenario.crashed = True
        scenario.send(60)
        scenario.wait(lambda: scenario.rows(IN_FLIGHT), what="work in flight")
        proxy.black_hole(*directions)
        # 2.5 heartbeats of 2 s, and the connections are given up.
        scenario.wait(
            lambda: proxy.open == 0 or sum(proxy.counters.swallowed.values()), what="swallowed bytes"
        )
        _pass(scenario, 5)
        scenario.fired["bytes swallowed"] = sum(proxy.counters.swallowed.values())
        proxy.pass_through()
        scenario.send(10)
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 70}


@long
def test_bad_network_is_slow_and_has_no_other_effect(make_scenario: MakeScenario, rabbitmq: Broker) -> None:
    with (
        ChaosProxy(("127.0.0.1", rabbitmq.port)) as proxy,
        make_scenario(
            "N4, 0.3 s latency, 20 kB/s, flapping", seed=404, port=proxy.port, BROKER__HEARTBEAT="5"
        ) as scenario,
    ):
        worker = scenario.start()
        scenario.crashed = True
        proxy.delay(0.3)
        scenario.send(40)
        scenario.wait_confirmed()
        proxy.pass_through()
        proxy.throttle(20_000)
        scenario.send(40)
        scenario.wait_confirmed()
        proxy.pass_through()
        for _ in range(8):
            scenario.send(10)
            _pass(scenario, 1.5)
            proxy.reset()
        scenario.fired["chunks held back"] = proxy.counters.delayed
        scenario.fired["resets"] = proxy.counters.resets
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 160}
        assert worker.returncode is None
