"""The promise of a 2xx while ingest and broker die, freeze and come back: H1, H2, H3."""

from __future__ import annotations

import random
import signal
from typing import TYPE_CHECKING

import pytest

from tests.harness.chaos_proxy import ChaosProxy
from tests.harness.notification_load import NotificationLoad, assert_one_event_each, collect, metric, spooled
from tests.harness.waiting import free_port, wait_until
from tests.harness.webhook import Webhook, inbound_id

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartBridge
    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient

pytestmark = [pytest.mark.broker, pytest.mark.acceptance, pytest.mark.long]


@pytest.mark.parametrize("seed", [1, 2])
def test_no_kill_under_load_with_broker_restarts_loses_a_notification(
    seed: int, bridge_process: StartBridge, amqp: BrokerClient, rabbitmq: Broker, vhost: str, tmp_path: Path
) -> None:
    chance, port = random.Random(seed), free_port()
    filled = 0.0
    with ChaosProxy(("127.0.0.1", rabbitmq.port)) as way:
        env = {
            "BRIDGE_BROKER__URL": rabbitmq.url(vhost, way.port),
            "BRIDGE_INGEST__PORT": str(port),
            "BRIDGE_INGEST__SPOOL": str(tmp_path / "spool"),
        }
        process = bridge_process("ingest", env=env)
        with NotificationLoad(Webhook(port=port)) as flood:
            for _ in range(10):
                chance.choice([way.refuse, way.reset, lambda: way.black_hole("down"), way.pass_through])()
                flood.wait(chance.randrange(20, 150))
                filled = max(filled, spooled(process))
                process.stop(signal.SIGKILL)
                chance.choice([way.refuse, way.pass_through, way.pass_through])()
                process = bridge_process("ingest", env=env)
                flood.wait(20)
            way.pass_through()
        accepted = flood.accepted()
        wait_until(lambda: spooled(process) == 0, 60, what="an empty spool")
    messages = collect(amqp, accepted)
    posted = {inbound_id(message_id) for message_id, *_ in flood.answers}

    assert filled > 0
    assert len(accepted) > 300
    assert_one_event_each(messages, accepted)
    assert {message.properties["message_id"] for message in messages} <= posted
    assert metric(process, "spool_damaged_total") == 0


#: The `ingest.confirm_timeout` of this scenario: no request waits longer, in any state of the broker.
DEADLINE = 3.0


def test_each_of_5000_accepted_notifications_is_one_event_during_broker_faults(
    bridge_process: StartBridge, amqp: BrokerClient, rabbitmq: Broker, vhost_url: str, tmp_path: Path
) -> None:
    port = free_port()
    env = {
        "BRIDGE_BROKER__URL": vhost_url,
        "BRIDGE_INGEST__PORT": str(port),
        "BRIDGE_INGEST__SPOOL": str(tmp_path / "spool"),
        "BRIDGE_INGEST__CONFIRM_TIMEOUT": str(DEADLINE),
        "BRIDGE_LEDGER__URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
    }
    replays = [bridge_process("ingest", env=env)]
    memory, filled = [], []

    def observe() -> None:
        memory.append(replays[-1].memory)
        filled.append(spooled(replays[-1]))

    def die() -> None:
        assert replays[-1].stop(signal.SIGKILL) == -signal.SIGKILL
        replays.append(bridge_process("ingest", env=env))

    with NotificationLoad(Webhook(port=port), clients=8) as flood:
        flood.wait(1000)
        observe()

        rabbitmq.kill()
        flood.wait(500)
        observe()
        die()
        flood.wait(300)
        rabbitmq.start()
        flood.wait(500)

        with rabbitmq.frozen():
            flood.wait(300)
            observe()
            die()
            flood.wait(300)
        flood.wait(500)

        with rabbitmq.memory_alarm():
            flood.wait(300)
            die()
            flood.wait(300)
            observe()
        flood.wait(500)

        rabbitmq.restart(gracefully=True)
        wait_until(lambda: len(flood.accepted()) >= 5000, 60, what="5,000 that were answered 204")
        observe()
    accepted = flood.accepted()
    wait_until(lambda: spooled(replays[-1]) == 0, 60, what="an empty spool")
    observe()
    messages = collect(amqp, accepted)
    answered = [took for _, status, _, took in flood.answers if status]
    refused = sum(status not in {0, 204} for _, status, *_ in flood.answers)
    print(
        f"{len(flood.answers)} posted, {len(accepted)} answered 204, {len(messages)} messages; "
        f"spooled {filled}, memory {memory} MB, longest answer {max(answered):.3f} s"
    )

    assert sum(map(bool, filled)) >= 3, filled
    assert_one_event_each(messages, accepted)
    assert max(answered) < DEADLINE
    assert refused == 0
    assert max(memory) < 1.15 * min(memory), memory
