"""A broker that stops, freezes, blocks, refuses and forgets, and a network that cuts: B2 to B8 and N1 to N4."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos_proxy import DOWN, UP, ChaosProxy
from tests.faults.rig import IN_FLIGHT
from tests.peer import COLLECTOR
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.broker_harness import Broker
    from tests.faults.conftest import MakeRig
    from tests.faults.rig import Rig

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

long = pytest.mark.long
#: A provider that takes its time, so that work is in flight when the fault comes.
SLOW = {"latency": 0.25}


def _pass(rig: Rig, seconds: float) -> None:
    """Let time pass under the fault: nothing is to be waited for, for nothing is to happen."""
    with pytest.raises(AssertionError):
        rig.wait(lambda: False, within=seconds)


def _next_cut(proxy: ChaosProxy) -> Callable[[], bool]:
    before = proxy.counters.cuts
    return lambda: proxy.counters.cuts > before


def _send_until(condition: Callable[[], bool], rig: Rig) -> None:
    def sent_and_met() -> bool:
        rig.send()
        return condition()

    wait_until(sent_and_met, 60, every=0.4, what="a cut")


@long
def test_a_graceful_restart_and_closed_connections_cost_nothing(make_rig: MakeRig) -> None:
    with make_rig("B2, graceful restart, connections closed", seed=302, provider=SLOW) as rig:
        rig.start()
        rig.broker.settle()
        rig.crashed = True
        rig.send_meanwhile([rig.command()[1] for _ in range(150)])
        rig.resumes()
        rig.broker.restart(gracefully=True)
        rig.fired["restarts"] += 1
        rig.resumes()
        for _ in range(3):
            rig.send_meanwhile([rig.command()[1] for _ in range(50)])
            rig.broker.close_connections(rig.vhost)
            rig.fired["connections closed"] += 1
            rig.resumes()
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 300}
        assert rig.broker.consumers(rig.vhost, "sms.send") == 1


@long
def test_a_frozen_broker_is_left_and_returned_to(make_rig: MakeRig) -> None:
    with make_rig("B3, frozen for 8 s", seed=303, provider=SLOW) as rig:
        rig.start()
        rig.crashed = True
        rig.send(100)
        rig.wait(lambda: rig.rows(IN_FLIGHT), what="work in flight")
        with rig.broker.frozen():
            rig.fired["freezes"] += 1
            _pass(rig, 8)
        rig.send(20)
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 120}
        # The broker gives up the connection that was left when that misses its heartbeats.
        rig.wait(lambda: rig.broker.consumers(rig.vhost, "sms.send") == 1, what="one consumer")


@long
@pytest.mark.parametrize("alarm", ["memory", "disk"])
def test_while_the_broker_blocks_publishers_nothing_new_is_called(make_rig: MakeRig, alarm: str) -> None:
    with make_rig(f"B4, {alarm} alarm for 6 s", seed=304, provider={"latency": 0.6}) as rig:
        worker = rig.start()
        rig.crashed = True
        rig.send(200)
        rig.wait(lambda: rig.rows(IN_FLIGHT), what="work in flight")
        blocked = rig.broker.memory_alarm if alarm == "memory" else rig.broker.disk_alarm
        with blocked():
            rig.fired["alarms"] += 1
            rig.wait(lambda: worker.admin("/readyz")[0] == 503, what="a worker that is not ready")
            _pass(rig, 1)
            held = rig.accepted
            _pass(rig, 5)

            # What was prefetched at most.
            assert rig.accepted - held <= 1
        rig.send(10)
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 210}


@long
def test_an_event_that_a_full_queue_refuses_holds_its_command(make_rig: MakeRig) -> None:
    with make_rig("B5, an event queue that is full", seed=305) as rig:
        worker = rig.start()
        # Then the others that the event is routed to have it several times.
        rig.crashed = True
        rig.amqp.declare_queue("full", {"x-max-length": 1, "x-overflow": "reject-publish"})
        rig.amqp.bind("full", "sms.events", "#")
        # As many as a worker holds: with these it can do nothing more.
        rig.send(12)
        rig.wait(lambda: "broker.nacked" in worker.logs, what="a nack")
        rig.wait(lambda: rig.rows("state = 'sent'") == 12, what="outcomes in the ledger")
        _pass(rig, 2)

        assert rig.queued() >= 11
        rig.fired["nacks"] = worker.logs.count("broker.nacked")
        rig.amqp.delete("full")
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 12}


def test_an_outcome_that_can_not_be_told_holds_its_command_through_a_crash(make_rig: MakeRig) -> None:
    with make_rig("B6, the events exchange is gone", seed=306, BROKER__DECLARE="false") as rig:
        rig.declare()
        rig.start()
        with rig.amqp.channel() as channel:
            channel.exchange_delete("sms.events")
        rig.send(12)
        # How many are sent before the first event comes to nothing is a matter of luck: none is sent after it.
        rig.wait(lambda: rig.rows("state = 'sent'") >= 1, what="outcomes in the ledger")
        rig.fired["events that nobody takes"] = rig.rows("state = 'sent'")
        _pass(rig, 1)
        # What is on its way between queue and worker is counted at neither for a moment.
        rig.wait(lambda: rig.queued() == 12, what="all commands held or queued")
        rig.kill()
        rig.fired["crashes"] += 1
        rig.amqp.collect()
        rig.start()
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 12}


@long
def test_events_that_nobody_is_bound_for_are_kept_aside_and_counted(make_rig: MakeRig) -> None:
    with make_rig("B6, no queue is bound", seed=306) as rig:
        rig.start()
        rig.amqp.unbind(COLLECTOR, "sms.events", "#")
        rig.send(20)
        rig.wait(lambda: rig.amqp.depth("sms.unrouted") == 20, what="events kept aside")
        rig.fired["unrouted events"] = 20
        rig.amqp.collect()
        for message in rig.amqp.take("sms.unrouted", 20):
            told = {"message_id": message.properties["message_id"], "type": message.properties["type"]}
            rig.amqp.publish(message.body, exchange="sms.events", routing_key=told["type"], **told)
        rig.send(1)
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 21}


@long
def test_a_worker_whose_queue_is_deleted_declares_it_again_and_consumes(make_rig: MakeRig) -> None:
    with make_rig("B7, the command queue is deleted", seed=307) as rig:
        rig.start()
        rig.send(20)
        rig.wait_told()
        for _ in range(3):
            rig.wait(lambda: rig.queued() == 0, what="the acks")
            rig.amqp.delete("sms.send")
            rig.fired["deletions"] += 1
            rig.wait(lambda: rig.amqp.exists("sms.send"), what="the queue again")
            rig.wait(lambda: rig.amqp.consumers("sms.send") == 1, what="a consumer")
            rig.send(20)
            rig.wait_told()
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 80}


@long
def test_cuts_at_any_byte_of_the_connection_cost_nothing(make_rig: MakeRig, rabbitmq: Broker) -> None:
    with (
        ChaosProxy(("127.0.0.1", rabbitmq.port)) as proxy,
        make_rig("N1, 24 cuts at random bytes", seed=401, port=proxy.port) as rig,
    ):
        rig.start()
        rig.crashed = True
        for _ in range(12):
            rig.send(12)
            for direction in (UP, DOWN):
                is_cut = _next_cut(proxy)
                proxy.cut_after(rig.chance.randint(1, 4000), direction)
                # Each adds bytes in both directions, whatever the connections are at.
                _send_until(is_cut, rig)
        proxy.reset()
        proxy.finish()
        rig.fired["cuts"] = proxy.counters.cuts
        rig.fired["resets"] = proxy.counters.resets
        verdict = rig.kept()

        assert set(verdict.outcomes) == {"sent"}


@pytest.mark.parametrize(
    "directions",
    [
        pytest.param((UP, DOWN), id="both ways"),
        pytest.param((DOWN,), id="confirms lost", marks=long),
        pytest.param((UP,), id="acks lost", marks=long),
    ],
)
def test_a_half_open_connection_is_noticed_and_costs_nothing(
    make_rig: MakeRig, rabbitmq: Broker, directions: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    with (
        ChaosProxy(("127.0.0.1", rabbitmq.port)) as proxy,
        make_rig(
            f"N2/N3, black hole, {request.node.callspec.id}", seed=402, port=proxy.port, provider=SLOW
        ) as rig,
    ):
        rig.start()
        rig.crashed = True
        rig.send(60)
        rig.wait(lambda: rig.rows(IN_FLIGHT), what="work in flight")
        proxy.black_hole(*directions)
        # 2.5 heartbeats of 2 s, and the connections are given up.
        rig.wait(lambda: proxy.open == 0 or sum(proxy.counters.swallowed.values()), what="swallowed bytes")
        _pass(rig, 5)
        rig.fired["bytes swallowed"] = sum(proxy.counters.swallowed.values())
        proxy.pass_through()
        rig.send(10)
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 70}


@long
def test_a_bad_line_is_slow_and_nothing_else(make_rig: MakeRig, rabbitmq: Broker) -> None:
    with (
        ChaosProxy(("127.0.0.1", rabbitmq.port)) as proxy,
        make_rig(
            "N4, 0.3 s latency, 20 kB/s, flapping", seed=404, port=proxy.port, BROKER__HEARTBEAT="5"
        ) as rig,
    ):
        worker = rig.start()
        rig.crashed = True
        proxy.delay(0.3)
        rig.send(40)
        rig.wait_told()
        proxy.pass_through()
        proxy.throttle(20_000)
        rig.send(40)
        rig.wait_told()
        proxy.pass_through()
        for _ in range(8):
            rig.send(10)
            _pass(rig, 1.5)
            proxy.reset()
        rig.fired["chunks held back"] = proxy.counters.delayed
        rig.fired["resets"] = proxy.counters.resets
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 160}
        assert worker.returncode is None
