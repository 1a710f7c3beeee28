"""Two commands with one id are one command, whenever, wherever and however often the second comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.bench import DESTINATION, Bench, body_of, running
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.acceptance.bench import Running
    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge
    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]


@pytest.fixture(scope="module")
def bridge(rabbitmq: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a worker for all tests here that need nothing else."""
    with running(rabbitmq, tmp_path_factory.mktemp("same-id"), RETRY__IN_PROCESS="0") as bench:
        # The second copy of what waits for its turn looks again about ten seconds later: the others run meanwhile.
        fault = {"name": "status", "status": 503, "retry_after": 1, "text": "canary of waiting twin."}
        bench.provider.faults(fault)
        bench.send("waiting twin")
        bench.events.wait(lambda m: m.json["subject"] == "waiting twin")
        bench.send("waiting twin")
        yield bench


def test_a_second_copy_after_the_outcome_gets_the_same_event_and_its_own_reply(bridge: Running) -> None:
    queue = bridge.amqp.declare_queue("second")
    bridge.send("again", metadata={"first": "yes"})
    bridge.outcome("again")
    # Times and metadata are no part of the content.
    bridge.amqp.publish(body_of("again", metadata={"first": "no"}), reply_to=queue, correlation_id="2nd")
    (reply,) = bridge.amqp.take(queue)
    first, second = bridge.outcomes("again", 2)
    bridge.settled()

    assert first.body == second.body == reply.body
    assert (first.properties, first.headers) == (second.properties, second.headers)
    assert reply.properties["correlation_id"] == "2nd"
    assert bridge.sms("again") == 1


def test_a_second_copy_of_what_was_rejected_leaves_no_second_dead_letter(bridge: Running) -> None:
    body = bridge.send("refused again", destination_address="+19995550100")
    bridge.outcome("refused again")
    bridge.send("refused again", destination_address="+19995550100")
    bridge.outcomes("refused again", 2)
    bridge.settled()

    assert len(bridge.letters(body)) == 1


def test_a_second_copy_while_the_first_is_in_flight_waits_for_it(bridge: Running) -> None:
    queue = bridge.amqp.declare_queue("meanwhile")
    bridge.provider.settings(latency=1.0)
    accepted = bridge.provider.stats()["accepted"]
    bridge.send("twin")
    wait_until(lambda: bridge.provider.stats()["accepted"] > accepted)
    bridge.amqp.publish(body_of("twin"), reply_to=queue)
    bridge.provider.settings(latency=0)
    (reply,) = bridge.amqp.take(queue, within=10)
    bridge.settled()

    outcomes = bridge.outcomes("twin", 2)
    assert {reply.body} == {message.body for message in outcomes}
    assert bridge.steps("twin") == ["sent", "sent"]
    assert bridge.sms("twin") == 1


@pytest.mark.parametrize(
    "other",
    [
        {"message": "canary, another text."},
        {"destination_address": "+16135550177"},
        {"destination_address": [DESTINATION, "+16135550177"]},
        {"sender_address": "+16139998878"},
    ],
)
def test_the_same_id_with_other_content_is_a_conflict_and_no_outcome_of_the_first(
    bridge: Running, other: dict[str, Any]
) -> None:
    command_id = f"conflict {sorted(other)} {len(str(other))}"
    bridge.send(command_id)
    bridge.outcome(command_id)
    body = bridge.send(command_id, **other)
    _, conflict = bridge.outcomes(command_id, 2)
    (letter,) = bridge.letters(body)
    bridge.settled()

    data = conflict.json["data"]
    assert (
        conflict.routing_key,
        data["error"]["name"],
        data["index"],
    ) == ("sms.outbound.invalid", "conflict", None)
    assert letter.headers["x-bridge-outcome"] == "invalid"
    assert bridge.steps(command_id) == ["sent", "invalid"]
    assert bridge.sms(command_id) == 1
    assert len(bridge.letters(body)) == 1


def test_two_workers_on_one_ledger_send_each_id_once(
    bridge_process: StartBridge, env: Mapping[str, str], provider: Provider, amqp: BrokerClient
) -> None:
    provider.settings(latency=0.1)
    # A prefetch of 2 keeps one worker from taking both copies of everything.
    settings = {**env, "BRIDGE_WORKER__PREFETCH": "2"}
    workers = [bridge_process("worker", env=settings, ready=False) for _ in range(2)]
    for worker in workers:
        worker.wait_ready()
    bench = Bench(amqp, provider)
    ids = [f"raced {number}" for number in range(10)]
    for command_id in ids:
        bench.send(command_id)
        bench.send(command_id)
    events = {command_id: bench.outcomes(command_id, 2, within=20) for command_id in ids}

    assert dict.fromkeys(ids, 1) == {command_id: bench.sms(command_id) for command_id in ids}
    assert all(len({message.body for message in outcomes}) == 1 for outcomes in events.values())
    assert all("submission.ended" in worker.logs for worker in workers)


def test_a_second_copy_of_a_command_that_waits_for_its_turn_is_one_sms(bridge: Running) -> None:
    first, second = bridge.outcomes("waiting twin", 2, within=25)

    assert first.body == second.body
    assert bridge.steps("waiting twin") == ["deferred", "sent", "sent"]
    assert bridge.sms("waiting twin") == 1
