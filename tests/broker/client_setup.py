"""The client of other services, as the tests of this directory use it, and a bridge's words for it to read."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bridge.client import Client, Consumer, ConsumerOptions, Options
from bridge.domain.events import CONTENT_TYPE, SENT, event_id, make_event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.client import Event
    from tests.harness.broker_client import BrokerClient

TO = "+16131234567"
QUEUE = "billing.sms"
DEAD = f"{QUEUE}.dead"
#: When events were filed.
TIME = 1_790_000_000


def client(url: str | Sequence[str], timeout: float = 10.0, **options: Any) -> Client:
    """Return a client in a hurry."""
    return Client(url, Options(connect_timeout=1.0, **options), timeout=timeout)


def consumer(url: str, queue: str = QUEUE, **options: Any) -> Consumer:
    """Return a consumer in a hurry."""
    return Consumer(url, queue, options=Options(connect_timeout=1.0), **consuming(**options))


def prepare(peer: BrokerClient, arguments: dict[str, object] | None = None) -> None:
    """Declare what the bridge declares for commands, without the delay."""
    with peer.channel() as channel:
        channel.exchange_declare("sms.commands", "topic", durable=True, auto_delete=False)
    peer.declare_queue("sms.send", arguments or {"x-queue-type": "quorum"})
    peer.bind("sms.send", "sms.commands", "send")


def outcome(command_id: str, index: int | None = 0, type_: str = SENT) -> bytes:
    """Return the outcome of a submission, as the bridge makes it."""
    data = {
        "command_id": command_id, "index": index, "destination_address": TO, "sender_address": "+16139998877",
        "message": "hello", "delivery_status": None, "message_id": "m1", "attempts": 1, "segments": 1,
        "reconciled": False, "metadata": None, "error": None if type_ == SENT else {"name": "invalid"},
    }  # fmt: skip
    made = make_event(
        id=event_id(command_id, index, 0),
        type=type_,
        source="/sms-bridge/sms",
        time=TIME,
        subject=command_id,
        data=data,
    )
    return made.body


def publish(peer: BrokerClient, command_id: str, type_: str = SENT) -> str:
    """Publish an outcome as the bridge does; return its event's id."""
    identity = event_id(command_id, 0, 0)
    own: dict[str, Any] = {
        "content_type": CONTENT_TYPE,
        "message_id": identity,
        "type": SENT,
        "timestamp": TIME,
    }
    body = outcome(command_id, 0, type_)
    peer.publish(body, exchange="sms.events", routing_key=type_, correlation_id=command_id, **own)
    return identity


class Worker(threading.Thread):
    """Answers so many commands as a worker would, if it answers at all."""

    def __init__(self, peer: BrokerClient, *answers: list[bytes]) -> None:
        super().__init__()
        self._peer, self._answers = peer, answers
        self.start()

    def run(self) -> None:
        for bodies in self._answers:
            (command,) = self._peer.take("sms.send")
            for body in bodies:
                properties = {"correlation_id": command.properties["correlation_id"]}
                # One who has gone takes no reply, which is the worker's to ignore.
                with suppress(Exception):
                    self._peer.publish(
                        body,
                        exchange="",
                        routing_key=command.properties["reply_to"],
                        content_type=CONTENT_TYPE,
                        **properties,
                    )


class Running:
    """A consumer that runs on a thread of its own until the block ends."""

    def __init__(self, consumer: Consumer, handler: Callable[[Event], object]) -> None:
        self.consumer = consumer
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(handler,))

    def __enter__(self) -> Running:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and wait for the end."""
        self.consumer.stop()
        self._thread.join(10)
        self.consumer.close()

        assert not self._thread.is_alive()

    @property
    def is_over(self) -> bool:
        """Whether `run` has returned, or raised."""
        return not self._thread.is_alive()

    def _run(self, handler: Callable[[Event], object]) -> None:
        try:
            self.consumer.run(handler)
        except BaseException as e:  # noqa: BLE001 - the test's to judge
            self.error = e


def consuming(*, seen: Any = None, keys: tuple[str, ...] = ("#",), **options: Any) -> dict[str, Any]:
    """Return the arguments of a consumer in a hurry."""
    return {"seen": seen, "keys": keys, "consuming": ConsumerOptions(**{"first_pause": 0.01, **options})}
