"""A channel with publisher confirms: each publish keeps its tag until the broker answers for that tag.

kombu waits for *a* confirm and takes it for the last publish's, so confirms are matched here
(docs/internals/decisions.md). All publishers have such channels: each decides what to write and when, and what
follows from an answer.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import takewhile
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bridge.adapters.amqp.connection_thread import ConnectionDown
from bridge.adapters.amqp.message_encoder import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    import amqp

    from bridge.adapters.amqp.connection import Broker
    from bridge.domain.messages import Outgoing

#: Publishes under way at once on one channel; more wait. RabbitMQ reads 201 at least while a queue does not take them,
#: then nothing more from the connection (credit flow: 400 credits, renewed by 200), and could not answer `Pulse`.
WINDOW = 200


@dataclass(slots=True, eq=False)
class Publish:
    """A message on its way to its confirm."""

    message: Outgoing
    #: Called once a queue has it.
    confirmed: Callable[[], None] = field(repr=False)
    #: The exchange and routing key that it is written with.
    address: tuple[str, str]
    #: When it was last written, and when it may be: `Clock.monotonic` seconds.
    written_at: float = 0.0
    not_before: float = 0.0
    #: Whether the broker has returned it: no queue is bound for it. The confirm follows.
    returned: bool = False
    #: How often it was refused, or under way when the connection was lost.
    failures: int = 0


class ConfirmLate(ConnectionDown):
    """The broker does not answer for a publish in time."""


P = TypeVar("P", bound=Publish)


class ConfirmChannel(Generic[P]):
    """The publishes of one kind. `waiting` may be appended to by any thread, all else is the link's thread's."""

    def __init__(
        self,
        *,
        refused: Callable[[P], None],
        returned: Callable[[P], None],
        deadline: float = inf,
        simplified: Callable[[Outgoing, str], None] = lambda _message, _reason: None,
    ) -> None:
        """`refused` and `returned` are called with a publish that the broker refuses (a nack) or has no queue for.

        A confirm may take `deadline` seconds. `simplified` is called with a message that loses properties, and why.
        """
        self._on_refused, self._on_returned, self._on_simplified = refused, returned, simplified
        self.deadline = deadline
        self.waiting: deque[P] = deque()
        #: What is under way, by its tags, in the order in which it was written.
        self.unconfirmed: dict[int, P] = {}
        #: When the oldest of it was written; infinite without one. Any thread may read it.
        self.oldest_at = inf
        self._channel: Any = None
        self._tag = 0
        #: Whether the broker has refused something on this channel.
        self._has_refused = False

    def open(self, broker: Broker) -> None:
        """Have confirms and returns come to us, on a new connection."""
        channel = broker.channel()
        channel.confirm_select()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)
        self._channel, self._tag, self._has_refused = channel, 0, False

    def renew(self, broker: Broker) -> list[P]:
        """Go on with another channel; return what was under way on this one, in its order: it may be stored or not."""
        channel, in_flight = self._channel, self.lose()
        broker.forget_channel(channel)
        self.open(broker)
        return in_flight

    def lose(self) -> list[P]:
        """Forget the connection; return what was under way on it, in its order: it may be stored or not."""
        in_flight = list(self.unconfirmed.values())
        self.unconfirmed.clear()
        self._channel, self.oldest_at = None, inf
        return in_flight

    def check_deadline(self, broker: Broker, now: float) -> None:
        """Distrust a connection that neither confirms nor says that it is blocked.

        Raises:
            ConfirmLate: the oldest publish has waited for too long.

        """
        if broker.blocked:
            self._excuse(now)
        elif now - self.oldest_at > self.deadline:
            raise ConfirmLate(f"no confirm within {self.deadline:g} s")

    def _excuse(self, now: float) -> None:
        """Take what is under way as written now: what waits for the end of an alarm is not late."""
        for publish in self.unconfirmed.values():
            publish.written_at = self.oldest_at = now

    def write(self, broker: Broker, now: float, *, most: int = WINDOW) -> bool:
        """Gather what waits, as far as the broker allows and up to `most` under way; return whether there was any.

        After a refusal all goes on with another channel, once nothing is under way on this one: RabbitMQ 3.10 may go on
        refusing on a channel that was in use while a queue's leader was lost.
        """
        if self._has_refused and self.waiting:
            if self.unconfirmed:
                return False
            self.renew(broker)
        waiting, unconfirmed, has_written = self.waiting, self.unconfirmed, False
        while waiting and len(unconfirmed) < most and (broker.has_capacity or broker.check_capacity()):
            self.put(broker, waiting.popleft(), now)
            has_written = True
        return has_written

    def put(self, broker: Broker, publish: P, now: float) -> None:
        """Have the broker's next flush write a publish."""
        # Before it is written: half a frame may have gone when that fails, so the message is under way.
        self._tag += 1
        self.unconfirmed[self._tag] = publish
        publish.written_at, publish.returned = now, False
        self.oldest_at = min(self.oldest_at, now)
        encoded = encode(publish.message, frame_max=broker.frame_max)
        if encoded.simplified is not None:
            self._on_simplified(publish.message, encoded.simplified)
        broker.gather(self._channel, encoded, *publish.address)

    def _on_ack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's callback
        for publish in self._take(tag, multiple=multiple):
            if publish.returned:
                self._on_returned(publish)
            else:
                publish.confirmed()

    def _on_nack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's callback
        self._has_refused = True
        for publish in self._take(tag, multiple=multiple):
            self._on_refused(publish)

    def _take(self, tag: int, *, multiple: bool) -> list[P]:
        """Take out, and return, what the broker has answered for: one, or all up to one."""
        unconfirmed = self.unconfirmed
        # Tags grow, and a dict keeps their order.
        tags = list(takewhile(tag.__ge__, unconfirmed)) if multiple else [tag]
        taken = [unconfirmed.pop(number) for number in tags if number in unconfirmed]
        self.oldest_at = next(iter(unconfirmed.values())).written_at if unconfirmed else inf
        return taken

    def _on_return(self, _error: object, exchange: str, routing_key: str, returned: amqp.Message) -> None:
        """Mark what came back unrouted, whose confirm follows.

        Which one it is, AMQP does not say: the oldest with these bytes and this id, and any of several alike will do. A
        command may say what it is known by beside its body alone.
        """
        body, id_ = returned.body or b"", returned.properties.get("message_id")
        for publish in self.unconfirmed.values():
            message = publish.message
            # One that took more than AMQP has room for was left out.
            is_it = message.body == body and id_ in (None, message.properties.get("message_id"))
            if is_it and not publish.returned and publish.address == (exchange, routing_key):
                publish.returned = True
                return
        raise ConnectionDown(f"exchange {exchange!r} returned a message that is not ours")
