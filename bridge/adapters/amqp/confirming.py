"""A channel whose publishes are confirmed: each keeps its tag until the broker names it. And what waits for it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from bridge.adapters.amqp.link import LinkDown
from bridge.adapters.amqp.matching import mark_returned, take

if TYPE_CHECKING:
    from collections.abc import Callable

    import amqp

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.encoding import Encoded
    from bridge.domain.messages import Outgoing

#: Publishes under way at once on one channel; more wait. RabbitMQ reads 201 at least while a queue does not take them,
#: then nothing more from the connection (credit flow: 400 credits, renewed by 200), and could not answer `Pulse`.
WINDOW = 200


class Written(Protocol):
    """A publish that may be under way."""

    message: Outgoing
    #: When it was last written to the broker: `Clock.monotonic` seconds.
    written_at: float
    #: The exchange and routing key it was written with.
    address: tuple[str, str]
    returned: bool


P = TypeVar("P", bound=Written)


class ConfirmedChannel(Generic[P]):
    """The publishes of one kind. `waiting` may be appended to by any thread, all else is the link's thread's."""

    def __init__(self, acked: Callable[[P], None], nacked: Callable[[P], None]) -> None:
        """`acked` and `nacked` are called for each publish that the broker has answered for."""
        self._acked = acked
        self._nacked = nacked
        self.waiting: deque[P] = deque()
        self.unconfirmed: dict[int, P] = {}
        #: When the oldest unconfirmed publish was written; None without one. Any thread may read it.
        self.oldest: float | None = None
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

    def renew_if_refused(self, broker: Broker) -> None:
        """Go on with another channel where the broker has refused something on this one, once nothing is under way.

        RabbitMQ 3.10 may go on refusing on a channel that was in use while a queue's leader was lost.
        """
        if self._has_refused and not self.unconfirmed:
            self.renew(broker)

    def renew(self, broker: Broker) -> list[P]:
        """Go on with another channel; return what was under way on this one, in its order: it may be stored or not."""
        channel, under_way = self._channel, self.lose()
        broker.forget_channel(channel)
        self.open(broker)
        return under_way

    def lose(self) -> list[P]:
        """Forget the connection; return what was under way on it, in its order: it may be stored or not."""
        unconfirmed = list(self.unconfirmed.values())
        self.unconfirmed.clear()
        self._channel = self.oldest = None
        return unconfirmed

    def __len__(self) -> int:
        """Return how many are not confirmed. From any thread."""
        return len(self.waiting) + len(self.unconfirmed)

    @property
    def is_ready(self) -> bool:
        """Whether something waits that may be written; after a refusal nothing may until the channel is renewed."""
        return bool(self.waiting) and not self._has_refused and len(self.unconfirmed) < WINDOW

    def note_oldest(self) -> None:
        """Keep `oldest` up to date."""
        oldest = next(iter(self.unconfirmed.values()), None)
        self.oldest = None if oldest is None else oldest.written_at

    def excuse(self, now: float) -> None:
        """Take what is under way as written now: it is not late for an alarm of the broker."""
        for publish in self.unconfirmed.values():
            publish.written_at = now

    def gather(self, broker: Broker, publish: P, encoded: Encoded, now: float) -> None:
        """Have the broker's next flush write a publish, to its `address`."""
        # Before it is written: half a frame may have gone when that fails, so the message is under way.
        self._tag += 1
        self.unconfirmed[self._tag] = publish
        publish.written_at = now
        exchange, routing_key = publish.address
        broker.gather(self._channel, encoded, exchange=exchange, routing_key=routing_key, mandatory=True)

    def _on_ack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's callback
        for publish in take(self.unconfirmed, tag, multiple=multiple):
            self._acked(publish)

    def _on_nack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's callback
        self._has_refused = True
        for publish in take(self.unconfirmed, tag, multiple=multiple):
            self._nacked(publish)

    def _on_return(self, _error: object, exchange: str, routing_key: str, returned: amqp.Message) -> None:
        """Mark what came back unrouted; its ack follows."""
        if not mark_returned(self.unconfirmed, exchange, routing_key, returned):
            raise LinkDown(f"exchange {exchange!r} returned a message that is not ours")
