"""A worker that is told to end finishes what it holds and gives the rest back; one that can't work says why."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.bench import Bench, body_of, text_of
from tests.fakes.provider_server import ProviderServer
from tests.harness.chaos_proxy import ChaosProxy
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge
    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient
    from tests.harness.processes import BridgeProcess

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]


@pytest.fixture
def bench(amqp: BrokerClient, provider: Provider) -> Bench:
    """Return a service's view of what the test starts."""
    return Bench(amqp, provider)


def events_of(worker: BridgeProcess, name: str) -> list[dict[str, object]]:
    """Return the lines that a worker logged under this name."""
    lines = (json.loads(line) for line in worker.logs.splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == name]


# -- SIGTERM ---------------------------------------------------------------------------------------


def test_sigterm_under_load_finishes_what_is_in_flight_and_gives_the_rest_back(
    bridge_process: StartBridge, env: Mapping[str, str], bench: Bench
) -> None:
    bench.provider.settings(latency=0.4)
    settings = {**env, "BRIDGE_WORKER__CONCURRENCY": "4"}
    worker = bridge_process("worker", env=settings)
    ids = [f"load {number}" for number in range(40)]
    for command_id in ids:
        bench.send(command_id)
    wait_until(lambda: len(bench.provider.journal()) >= 6)
    started = time.monotonic()
    code = worker.stop(signal.SIGTERM)
    took = time.monotonic() - started

    sent = bench.provider.texts()
    published = [m.json["subject"] for m in bench.events.look()]
    assert code == 0
    assert took < 10
    assert {m.routing_key for m in bench.events.look()} == {"sms.outbound.sent"}
    assert sorted(map(text_of, published)) == sorted(sent)
    assert len(ids) - len(published) == bench.amqp.depth("sms.send") > 0

    bench.provider.settings(latency=0)
    successor = bridge_process("worker", env=settings)
    words = [bench.outcome(command_id)[0] for command_id in ids]
    successor.stop(signal.SIGTERM)
    assert words == ["sent"] * len(ids)
    assert sorted(bench.provider.texts()) == sorted(map(text_of, ids))


def test_a_second_sigterm_ends_it_at_once(
    bridge_process: StartBridge, env: Mapping[str, str], bench: Bench
) -> None:
    bench.provider.settings(latency=5)
    worker = bridge_process("worker", env={**env, "BRIDGE_CPAAS__READ_TIMEOUT": "5"})
    bench.send("hanging")
    wait_until(bench.provider.journal)
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: events_of(worker, "process.stopping"))
    started = time.monotonic()
    code = worker.stop(signal.SIGTERM)

    assert code == 1
    assert time.monotonic() - started < 3
    wait_until(lambda: bench.amqp.depth("sms.send") == 1)


def test_sigterm_cuts_the_pause_before_a_retry_short(
    bridge_process: StartBridge, env: Mapping[str, str], bench: Bench
) -> None:
    bench.provider.faults({"name": "status", "status": 503, "retry_after": 9, "text": text_of("patient")})
    worker = bridge_process(
        "worker", env={**env, "BRIDGE_RETRY__IN_PROCESS": "20", "BRIDGE_WORKER__LEASE": "60"}
    )
    bench.send("patient")
    wait_until(lambda: bench.provider.stats()["sends"] == 1)
    started = time.monotonic()
    code = worker.stop(signal.SIGTERM)

    assert code == 0
    assert time.monotonic() - started < 7
    assert bench.steps("patient") == ["deferred"]
    assert bench.amqp.depth("sms.send") == 0
    assert bench.sms("patient") == 0


def test_a_call_that_may_take_all_of_its_share_of_a_lease_is_made(
    bridge_process: StartBridge, env: Mapping[str, str], bench: Bench
) -> None:
    """A lease of 10 s allows calls of 8 s: 1 to connect, 5 to read and 2 besides."""
    bridge_process("worker", env={**env, "BRIDGE_CPAAS__READ_TIMEOUT": "5"})
    bench.send("just in time")

    assert bench.outcome("just in time")[0] == "sent"


def test_an_idle_worker_ends_promptly(bridge_process: StartBridge, env: Mapping[str, str]) -> None:
    worker = bridge_process("worker", env=env)
    started = time.monotonic()

    assert worker.stop(signal.SIGTERM) == 0
    assert time.monotonic() - started < 5


# -- the account is refused ------------------------------------------------------------------------


def refuses_with_a_reason(worker: BridgeProcess, reason: str) -> bool:
    """Whether the worker says on its admin port that it is not ready, and why."""
    status, body = worker.admin("/readyz")
    return status == 503 and reason in body


def test_a_suspended_account_pauses_consuming_until_it_is_good_again(
    bridge_process: StartBridge, env: Mapping[str, str], bench: Bench
) -> None:
    body = {"requestError": {"policyException": {"messageId": "POL1009", "text": "User not provisioned"}}}
    bench.provider.settings(failing={"send": {"name": "status", "status": 403, "body": body}})
    worker = bridge_process("worker", env={**env, "BRIDGE_WORKER__CONCURRENCY": "2"})
    ids = [f"suspended {number}" for number in range(10)]
    for command_id in ids:
        bench.send(command_id)
    wait_until(lambda: refuses_with_a_reason(worker, "POL1009"))
    wait_until(lambda: bench.amqp.depth("sms.send") >= len(ids) - 4, what="commands on the queue")
    wait_until(lambda: len(events_of(worker, "consuming.paused")) >= 2)
    published = bench.events.look()
    bench.provider.settings(failing={})
    outcomes = [bench.outcome(command_id) for command_id in ids]
    worker.wait_ready()

    assert not published
    assert [(word, data["attempts"]) for word, data in outcomes] == [("sent", 1)] * len(ids)
    assert sorted(bench.provider.texts()) == sorted(map(text_of, ids))
    assert not bench.dead.look()


def test_wrong_credentials_pause_consuming_and_touch_no_command(
    bridge_process: StartBridge, env: Mapping[str, str], bench: Bench
) -> None:
    worker = bridge_process("worker", env={**env, "BRIDGE_CPAAS__CLIENT_SECRET": "wrong"})
    ids = [f"locked out {number}" for number in range(5)]
    for command_id in ids:
        bench.send(command_id)
    wait_until(lambda: refuses_with_a_reason(worker, "unauthorized_client"))
    wait_until(lambda: len(events_of(worker, "provider.unhealthy")) >= 1)
    code = worker.stop(signal.SIGTERM)
    waiting = bench.amqp.depth("sms.send")
    published = bench.events.look()
    bridge_process("worker", env=env)
    outcomes = [bench.outcome(command_id) for command_id in ids]

    assert (code, waiting, published) == (0, len(ids), [])
    assert [(word, data["attempts"]) for word, data in outcomes] == [("sent", 1)] * len(ids)
    assert bench.provider.stats()["sends"] == len(ids)


def test_a_token_that_was_revoked_costs_nothing(
    bridge_process: StartBridge, env: Mapping[str, str], bench: Bench
) -> None:
    bridge_process("worker", env=env)
    bench.send("before")
    bench.outcome("before")
    bench.provider.post("tokens/revoke", {})
    bench.send("after")
    word, data = bench.outcome("after")

    assert (word, data["attempts"], bench.sms("after")) == ("sent", 1, 1)


def test_the_trace_of_a_command_goes_on_into_the_call(
    bridge_process: StartBridge, env: Mapping[str, str], amqp: BrokerClient
) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with ProviderServer() as provider:
        bridge_process("worker", env={**env, "BRIDGE_CPAAS__BASE_URL": provider.base_url})
        amqp.publish(body_of("traced"), headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
        (event,) = amqp.events()
        (call,) = provider.sends

    assert trace in event["traceparent"]
    assert trace in call.headers["traceparent"]


# -- the broker is not there -----------------------------------------------------------------------


def test_a_worker_waits_for_its_broker_and_says_so_line_by_line(
    bridge_process: StartBridge, env: Mapping[str, str], rabbitmq: Broker, bench: Bench
) -> None:
    with ChaosProxy(("127.0.0.1", rabbitmq.port)) as proxy:
        proxy.refuse()
        url = env["BRIDGE_BROKER__URL"].replace(f":{rabbitmq.port}/", f":{proxy.port}/")
        worker = bridge_process("worker", env={**env, "BRIDGE_BROKER__URL": url}, ready=False)
        wait_until(lambda: len(events_of(worker, "broker.unreachable")) >= 4, within=20)
        lines = events_of(worker, "broker.unreachable")
        worker.wait_answer("/livez", 200)
        worker.wait_answer("/readyz", 503)
        proxy.pass_through()
        worker.wait_ready()
        bench.send("at last")

        assert bench.outcome("at last")[0] == "sent"
    assert all({"reason", "attempt", "connection"} <= line.keys() for line in lines)
    assert "guest:guest" not in worker.logs
