"""The other side of the broker: a service that sends commands and reads events, with deadlines."""

from __future__ import annotations

import contextlib
import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import unquote, urlsplit

import amqp
from amqp.exceptions import AMQPError, MessageNacked, NotFound

from tests.harness.contract_check import look_at
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: Seconds that one answer of the broker may take.
TIMEOUT = 10
#: The durable queue that collects every event of a test.
COLLECTOR = "test.events"

#: What stands between two URLs of a list.
LIST = ","

T = TypeVar("T")


class Unrouted(Exception):
    """No queue is bound for a mandatory message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as a test took it from a queue."""

    body: bytes
    exchange: str
    routing_key: str
    redelivered: bool
    #: AMQP basic properties but the headers.
    properties: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class BrokerClient:
    """A client of one virtual host, for one thread. Connects when first used, and after any error to the next node.

    Everything it reads is read by polling and acked, so it works on through a restart of the broker; what it
    publishes is persistent and confirmed, and never repeated by itself.
    """

    def __init__(self, url: str) -> None:
        """Prepare for `url`, or a list of them as the bridge takes it; nothing is connected yet."""
        self.url = url
        self._nodes = itertools.cycle(url.split(LIST))
        self._connection: amqp.Connection | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(AMQPError, OSError):
                connection.close()

    # -- publishing --------------------------------------------------------------------------------

    def publish(
        self, body: bytes | str | object, *, exchange: str = "sms.commands", routing_key: str = "send",
        headers: Mapping[str, object] | None = None, mandatory: bool = True, **properties: object,
    ) -> None:  # fmt: skip
        """Publish `body` (bytes and text as they are, the rest as JSON) and wait for the confirm.

        `properties` are AMQP basic properties: ``message_id``, ``reply_to``, ``correlation_id`` …

        Raises:
            Unrouted: no queue is bound for it.
            amqp.exceptions.MessageNacked: the broker refused it.
            OSError, amqp.exceptions.AMQPError: it may or may not have been stored.

        """
        raw = body if isinstance(body, (bytes, str)) else json.dumps(body)
        properties = {"content_type": "application/json", "delivery_mode": 2, **properties}
        message = amqp.Message(raw, application_headers=dict(headers or {}), **properties)
        returned: list[object] = []

        def send(channel: amqp.Channel) -> None:
            # Every publish has a channel of its own: py-amqp does not tell one confirm from another.
            channel.events["basic_return"].add(lambda *answer: returned.append(answer))
            channel.basic_publish_confirm(
                message,
                exchange,
                routing_key,
                mandatory=mandatory,
                timeout=TIMEOUT,
                confirm_timeout=TIMEOUT,
            )

        self._do(send)
        if returned:
            raise Unrouted(f"{exchange or 'default exchange'}, {routing_key}")

    # -- topology ----------------------------------------------------------------------------------

    def collect(
        self,
        exchange: str = "sms.events",
        queue: str = COLLECTOR,
        routing_key: str = "#",
        arguments: Mapping[str, object] | None = None,
    ) -> str:
        """Declare the events exchange, as any consumer may, and a durable queue with `arguments` bound to it."""

        def declare(channel: amqp.Channel) -> None:
            channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)
            channel.queue_declare(queue, durable=True, auto_delete=False, arguments=dict(arguments or {}))
            channel.queue_bind(queue, exchange, routing_key)

        self._do(declare)
        return queue

    def declare_queue(self, queue: str, arguments: Mapping[str, object] | None = None) -> str:
        """Declare a durable queue."""
        arguments = dict(arguments or {})
        self._do(
            lambda channel: channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
        )
        return queue

    def bind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Bind `queue` to `exchange`."""
        self._do(lambda channel: channel.queue_bind(queue, exchange, routing_key))

    def unbind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Take a binding away."""
        self._do(lambda channel: channel.queue_unbind(queue, exchange, routing_key))

    def delete(self, queue: str) -> None:
        """Delete `queue` with what is in it."""
        self._do(lambda channel: channel.queue_delete(queue))

    def purge(self, queue: str) -> int:
        """Throw away what waits in `queue` and return how many messages that were."""
        return int(self._do(lambda channel: channel.queue_purge(queue)))

    # -- reading -----------------------------------------------------------------------------------

    def exists(self, queue: str) -> bool:
        """Whether there is such a queue."""
        try:
            self.depth(queue)
        except NotFound:
            return False
        return True

    def depth(self, queue: str) -> int:
        """Return how many messages wait in `queue`, without those that a consumer holds.

        Raises:
            amqp.exceptions.NotFound: there is no such queue.

        """
        return int(self._do(lambda channel: channel.queue_declare(queue, passive=True)).message_count)

    def consumers(self, queue: str) -> int:
        """Return how many consumers `queue` has; may raise as `depth` does."""
        return int(self._do(lambda channel: channel.queue_declare(queue, passive=True)).consumer_count)

    def get(self, queue: str) -> Message | None:
        """Take the next message off `queue`, or return None where none waits."""

        def take(channel: amqp.Channel) -> Message | None:
            message = channel.basic_get(queue)
            if message is None:
                return None
            channel.basic_ack(message.delivery_tag)
            return read_message(message)

        return self._do(take)

    def take(self, queue: str, number: int = 1, within: float = 10) -> list[Message]:
        """Take `number` messages off `queue`; connections that break meanwhile are made again.

        Raises:
            AssertionError: they did not come `within` so many seconds; the text says what did.

        """
        taken: list[Message] = []

        def enough() -> bool:
            with contextlib.suppress(AMQPError, OSError):
                while len(taken) < number and (message := self.get(queue)):
                    taken.append(message)
            return len(taken) >= number

        try:
            wait_until(enough, within, what=f"{number} messages on {queue}")
        except AssertionError as late:
            raise AssertionError(f"{late}; {len(taken)} came: {taken}") from None
        return taken

    def events(self, number: int = 1, within: float = 10, queue: str = COLLECTOR) -> list[Any]:
        """Take `number` events off the collector and return their bodies; raises as `take` does."""
        return [message.json for message in self.take(queue, number, within)]

    def dead(self, number: int = 1, within: float = 10, queue: str = "sms.dead") -> list[Message]:
        """Take `number` dead letters; raises as `take` does."""
        return self.take(queue, number, within)

    @contextlib.contextmanager
    def channel(self) -> Iterator[amqp.Channel]:
        """Lend a fresh channel, for what has no method here."""
        channel = self._channel()
        try:
            yield channel
            channel.close()
        except BaseException:
            # A connection that was in any error is never used again.
            self.close()
            raise

    # -- inside ------------------------------------------------------------------------------------

    def _do(self, work: Callable[[amqp.Channel], T]) -> T:
        with self.channel() as channel:
            return work(channel)

    def _channel(self) -> amqp.Channel:
        if self._connection is not None:
            # It may have broken since it was last used; nothing has been asked of it yet.
            try:
                return self._connection.channel()
            except (AMQPError, OSError):
                self.close()
        return self._connect().channel()

    def _connect(self) -> amqp.Connection:
        parts = urlsplit(next(self._nodes))
        connection = amqp.Connection(
            f"{parts.hostname}:{parts.port}", parts.username, parts.password,
            virtual_host=unquote(parts.path[1:]) or "/", confirm_publish=True,
            connect_timeout=TIMEOUT, read_timeout=TIMEOUT, write_timeout=TIMEOUT,
        )  # fmt: skip
        connection.connect()
        self._connection = connection
        return connection


def read_message(message: amqp.Message) -> Message:
    """Return a message as py-amqp has read it; what is the bridge's is held against the contract."""
    properties = dict(message.properties)
    headers = properties.pop("application_headers", {})
    body = message.body
    read = Message(
        body=body if isinstance(body, bytes) else body.encode(),
        exchange=message.delivery_info["exchange"],
        routing_key=message.delivery_info["routing_key"],
        redelivered=message.delivery_info["redelivered"],
        properties=properties,
        headers=headers,
    )
    look_at(
        read.body,
        exchange=read.exchange,
        routing_key=read.routing_key,
        properties=properties,
        headers=headers,
    )
    return read


__all__ = ["COLLECTOR", "BrokerClient", "Message", "MessageNacked", "Unrouted", "read_message"]
