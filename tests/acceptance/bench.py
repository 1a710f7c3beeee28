"""A bridge under test, with a service that sends it commands and everything that came of them."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from amqp.exceptions import AMQPError

from bridge.domain.events import TERMINAL
from bridge.simulator import Simulator
from tests.acceptance.conftest import Provider, assert_silent, environment
from tests.harness.broker_client import COLLECTOR, BrokerClient
from tests.harness.processes import BridgeProcess
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.broker import Broker
    from tests.harness.broker_client import Message

DESTINATION = "+16135550123"


def text_of(command_id: str) -> str:
    """Return the text of a command; no other has it."""
    return f"canary of {command_id}."


def body_of(command_id: str, **fields: object) -> bytes:
    """Return the body of a command; `fields` add to it and replace."""
    command = {"id": command_id, "destination_address": DESTINATION, "message": text_of(command_id)}
    return json.dumps(command | fields).encode()


class Seen:
    """Everything that came to one queue so far."""

    def __init__(self, amqp: BrokerClient, queue: str) -> None:
        self._amqp = amqp
        self._queue = queue
        self.messages: list[Message] = []

    def look(self) -> list[Message]:
        """Take what has come since, and return all there ever was."""
        with contextlib.suppress(AMQPError, OSError):
            while (message := self._amqp.get(self._queue)) is not None:
                self.messages.append(message)
        return list(self.messages)

    def wait(
        self, wanted: Callable[[Message], bool], number: int = 1, within: float = 10, what: str = ""
    ) -> list[Message]:
        """Wait for at least `number` that are `wanted` and return these."""

        def found() -> list[Message] | None:
            matching = [message for message in self.look() if wanted(message)]
            return matching if len(matching) >= number else None

        try:
            return wait_until(found, within, what=f"{number} on {self._queue} {what}") or []
        except AssertionError as late:
            raise AssertionError(f"{late}; came: {[m.body[:300] for m in self.messages[-5:]]}") from None


class Bench:
    """A service's view of the bridge, and the provider's journal."""

    def __init__(self, amqp: BrokerClient, provider: Provider) -> None:
        self.amqp = amqp
        self.provider = provider
        self.events = Seen(amqp, COLLECTOR)
        self.dead = Seen(amqp, "sms.dead")

    def send(self, command_id: str, *, to: str = "send", **fields: object) -> bytes:
        """Publish a command and return its body."""
        body = body_of(command_id, **fields)
        self.amqp.publish(body, routing_key=to)
        return body

    def outcomes(self, command_id: str, number: int = 1, within: float = 10) -> list[Message]:
        """Wait for at least `number` terminal events of a command."""

        def is_outcome(message: Message) -> bool:
            return message.routing_key in TERMINAL and message.json.get("subject") == command_id

        return self.events.wait(is_outcome, number, within, f"for {command_id!r}")

    def outcome(self, command_id: str, within: float = 10) -> tuple[str, dict[str, Any]]:
        """Wait for a command's one outcome; returns the last word of its type and the data."""
        (event,) = self.outcomes(command_id, within=within)
        return event.routing_key.rpartition(".")[2], event.json["data"]

    def steps(self, command_id: str) -> list[str]:
        """Return the last words of the types of a command's events so far, in order."""
        events = [m for m in self.events.look() if m.json.get("subject") == command_id]
        return [event.routing_key.rpartition(".")[2] for event in events]

    def letters(self, body: bytes, number: int = 1, within: float = 10) -> list[Message]:
        """Wait for at least `number` dead letters with this body."""
        return self.dead.wait(lambda message: message.body == body, number, within, f"with {body[:60]!r}")

    def sms(self, command_id: str) -> int:
        """Return how many SMS with the text of a command the provider took."""
        return self.provider.texts().count(text_of(command_id))


def is_idle(worker: BridgeProcess) -> bool:
    """Whether a worker holds no command."""
    return "\nsms_bridge_commands_in_flight 0.0" in worker.admin("/metrics")[1]


class Running(Bench):
    """A bench whose worker many tests share."""

    def __init__(self, amqp: BrokerClient, provider: Provider, worker: BridgeProcess) -> None:
        super().__init__(amqp, provider)
        self.worker = worker

    def settled(self) -> None:
        """Wait until the queue is empty and the worker holds nothing."""
        wait_until(lambda: self.amqp.depth("sms.send") == 0 and is_idle(self.worker), what="an idle worker")


@contextlib.contextmanager
def running(rabbitmq: Broker, directory: Path, **settings: str) -> Iterator[Running]:
    """Run a provider and a worker with `settings` (`RETRY__MAX_AGE` and the like)."""
    rabbitmq.thaw()
    if not rabbitmq.running:
        rabbitmq.start()
    url = rabbitmq.url(rabbitmq.new_vhost())
    with Simulator() as simulator, BrokerClient(url) as amqp:
        amqp.collect()
        own = {f"BRIDGE_{name}": value for name, value in settings.items()}
        env = environment(url, simulator.url, directory) | own
        worker = BridgeProcess(directory, "worker", env=env)
        try:
            worker.wait_ready()
            yield Running(amqp, Provider(simulator), worker)
        finally:
            worker.kill()
        assert_silent(worker)
