"""What an asyncio program sends with the client: many calls at once on one connection, and each can be cancelled."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from bridge.client.aio import (
    BatchPartiallySent,
    BrokerUnavailable,
    Client,
    Closed,
    Command,
    InvalidCommand,
    NoOutcomeYet,
    Options,
    Unroutable,
)
from tests.broker.aio_setup import client, run, until
from tests.broker.client_setup import TO, Worker, outcome, prepare
from tests.harness.chaos_proxy import ChaosProxy
from tests.harness.waiting import free_port

if TYPE_CHECKING:
    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient

pytestmark = pytest.mark.broker

#: Calls at once.
CALLS = 200


def ids_on_queue(peer: BrokerClient, number: int) -> list[str]:
    """Take so many commands off the queue; return their ids."""
    return [message.json["id"] for message in peer.take("sms.send", number)]


def commands(number: int) -> list[Command]:
    return [Command(to=TO, message="a", id=f"c{n}") for n in range(number)]


def test_a_command_is_on_its_queue_when_send_returns_and_a_batch_in_its_order(amqp: BrokerClient) -> None:
    prepare(amqp)

    async def main() -> list[str]:
        async with client(amqp.url) as sms:
            first = await sms.send(to=TO, message="a", id="first")
            several = await sms.send_many(commands(250))
            return [first.id, *(one.id for one in several), *await sms.send_many([])]  # type: ignore[list-item]

    sent = run(main())

    assert ids_on_queue(amqp, 251) == sent == ["first", *(f"c{n}" for n in range(250))]


def test_many_calls_wait_for_their_outcomes_at_once_and_none_takes_a_thread(amqp: BrokerClient) -> None:
    prepare(amqp)
    threads: set[int] = set()

    async def answer() -> None:
        """Answer when all have come, the last first."""
        await until(lambda: amqp.depth("sms.send") == CALLS, 30)
        threads.add(threading.active_count())
        for message in reversed(amqp.take("sms.send", CALLS)):
            amqp.publish(
                outcome(message.json["id"]),
                exchange="",
                routing_key=message.properties["reply_to"],
                correlation_id=message.properties["correlation_id"],
            )

    async def main() -> list[str | None]:
        threads.add(threading.active_count() + 1)  # that of the connection
        async with client(amqp.url, timeout=30.0) as sms:
            calls = [sms.send_and_wait(to=TO, message="a", id=f"c{n}") for n in range(CALLS)]
            answering = asyncio.create_task(answer())
            results = await asyncio.gather(*calls)
            await answering
        return [result.outcomes[0].command_id for result in results]

    assert run(main()) == [f"c{n}" for n in range(CALLS)]
    assert len(threads) == 1


def test_errors_are_those_of_the_other_client(amqp: BrokerClient) -> None:
    async def main() -> None:
        async with client(amqp.url) as sms:
            with pytest.raises(Unroutable, match=r"no exchange sms\.commands"):
                await sms.send(to=TO, message="a")
            prepare(amqp, {"x-max-length": 5, "x-overflow": "reject-publish"})
            with pytest.raises(InvalidCommand) as invalid:
                await sms.send_many([*commands(120), Command(to=TO, message="")])
            with pytest.raises(BatchPartiallySent, match="of 20 commands not sent"):
                await sms.send_many(commands(20))
            amqp.purge("sms.send")
            with pytest.raises(NoOutcomeYet, match="0 of 1"):
                await sms.send_and_wait(to=TO, message="a", wait=0.1)

        assert invalid.value.reasons == ("commands[120]: message is empty",)
        with pytest.raises(Closed):
            await sms.send(to=TO, message="a")

    run(main())


def test_what_is_cancelled_is_not_published_later(amqp: BrokerClient, rabbitmq: Broker) -> None:
    prepare(amqp)
    with ChaosProxy(("127.0.0.1", rabbitmq.port)) as proxy:
        url = amqp.url.replace(f":{rabbitmq.port}/", f":{proxy.port}/")

        async def main() -> None:
            async with client(url, timeout=20.0) as sms:
                await sms.send(to=TO, message="a", id="before")
                proxy.refuse()
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await sms.send(to=TO, message="a", id="timed out")
                task = asyncio.create_task(sms.send_and_wait(to=TO, message="a", id="cancelled"))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                proxy.pass_through()
                await sms.send(to=TO, message="a", id="after")

        run(main())

    assert ids_on_queue(amqp, 2) == ["before", "after"]
    assert amqp.depth("sms.send") == 0


def test_calls_that_fail_while_the_broker_is_unavailable_leave_nothing_behind() -> None:
    async def main() -> int:
        async with client(f"amqp://127.0.0.1:{free_port()}/", timeout=0.2) as sms:
            calls = [sms.send(to=TO, message="a") for _ in range(CALLS)]
            failed = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(one) for one in failed} == {BrokerUnavailable}
            return len(sms._engine._sender._queue)

    assert run(main()) == 0


def test_to_close_ends_the_calls_that_wait() -> None:
    async def main() -> object:
        sms = client(f"amqp://127.0.0.1:{free_port()}/", timeout=600.0)
        task = asyncio.create_task(sms.send(to=TO, message="a"))
        await asyncio.sleep(0)
        await sms.close()
        return await asyncio.gather(task, return_exceptions=True)

    (error,) = run(main(), within=30)

    assert isinstance(error, BrokerUnavailable)
    assert "closed" in str(error)


def test_a_loop_that_ends_without_closing_harms_nothing_and_the_next_loop_goes_on(amqp: BrokerClient) -> None:
    prepare(amqp)
    sms = client(amqp.url)

    async def leave() -> None:
        await sms.send(to=TO, message="a", id="first")
        # The loop ends while these wait for outcomes, which come when it is gone.
        waiting = [asyncio.create_task(sms.send_and_wait(to=TO, message="a", id=f"w{n}")) for n in range(3)]
        await until(lambda: amqp.depth("sms.send") == 4)
        assert not any(task.done() for task in waiting)

    async def go_on() -> Any:
        result = await sms.send_and_wait(to=TO, message="a", id="last")
        await sms.close()
        return result

    run(leave())
    worker = Worker(amqp, [], *([outcome(f"w{n}")] for n in range(3)), [outcome("last")])
    result = run(go_on())
    worker.join()

    assert result.status == "sent"


def test_a_batch_lets_other_tasks_run_while_it_is_judged(amqp: BrokerClient) -> None:
    prepare(amqp)
    turns = 0

    async def main() -> int:
        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with client(f"amqp://127.0.0.1:{free_port()}/", timeout=600.0) as sms:
            counting = asyncio.create_task(count())
            with pytest.raises(InvalidCommand):
                await sms.send_many([*commands(1000), Command(to=TO, message="")])
            counting.cancel()
        return turns

    assert run(main()) >= 10


def test_options_and_a_wrong_argument_are_judged_without_a_loop() -> None:
    sms = Client("amqp://localhost/", Options(prefix="other"), timeout=1)
    with pytest.raises(TypeError, match="timeout must be a number of seconds, not str"):
        Client("amqp://localhost/", timeout="1")  # type: ignore[arg-type]
    with pytest.raises(InvalidCommand, match="to must be a str or a list of str, not int"):
        run(sms.send(to=16131234567, message="a"))  # type: ignore[arg-type]
