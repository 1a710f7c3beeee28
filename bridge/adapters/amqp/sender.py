"""Publishes commands for whoever waits for their confirms, from any thread, on a connection with a thread of its own.

What the end of a connection left unconfirmed is published again on the next one, for as long as somebody waits: two
commands with one id are one command (SPEC section 3.1). So a restart of the broker is a delay, no failure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from amqp.exceptions import NotFound

from bridge.adapters.amqp.batch import Answer
from bridge.adapters.amqp.confirming import WINDOW
from bridge.adapters.amqp.encoding import encode
from bridge.adapters.amqp.link import Link, LinkDown
from bridge.adapters.amqp.matching import mark_returned, take
from bridge.adapters.amqp.replies import open_replies, read_event
from bridge.adapters.amqp.sendqueue import SendQueue

if TYPE_CHECKING:
    import amqp

    from bridge.adapters.amqp.batch import Batch, Sending
    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.link import Log
    from bridge.adapters.amqp.opening import BrokerAddress
    from bridge.domain.messages import Outgoing
    from bridge.ports import Clock

#: What an alarm of the broker means to whoever publishes.
BLOCKED = "the broker takes nothing for now: an alarm of its memory or disk"


class Sender:
    """Publishes commands and receives the outcomes of those that await them. All but the handler's part: any thread."""

    def __init__(
        self,
        address: BrokerAddress,
        *,
        exchange: str,
        clock: Clock,
        name: str,
        log: Log,
        deadline: float,
    ) -> None:
        """`deadline`: seconds without an answer after which a connection is not trusted any more."""
        self._exchange = exchange
        self._clock = clock
        self._deadline = deadline
        self._queue = SendQueue()
        self._unconfirmed: dict[int, _Written] = {}
        #: Those whose outcomes somebody waits for, by their correlation ids.
        self._awaited: dict[object, tuple[Sending, Batch]] = {}
        self._channel: Any = None
        self._replies: str | None = None
        self._tag = 0
        self._blocked = False
        self.ended = False
        #: Why the broker does not let us in, as long as it does not; empty where it does, or was not asked yet.
        self.refusal = ""
        self._link = Link(name, address, self, clock, self._end, log=log)
        self._link.on_round = self._judge_round

    def start(self) -> None:
        """Begin to connect."""
        self._link.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Close the connection, within `timeout` seconds; nobody waits any longer for what is not confirmed by then."""
        self._link.stop(timeout)
        self._end()

    @property
    def trouble(self) -> str:
        """Why nothing is confirmed, as far as it can be told."""
        return BLOCKED if self._blocked else self._link.trouble

    def publish(self, batch: Batch) -> None:
        """Take what a caller then waits for; who stops waiting calls `give_up`. Refused at once during a refusal."""
        if not self.refusal:
            for sending in batch.sendings:
                if sending.awaits:
                    self._awaited[sending.message.properties["correlation_id"]] = sending, batch
            self._queue.append([(sending, batch) for sending in batch.sendings])
        if self.ended or self.refusal:
            # The thread that ended it, or was refused, may not have seen this one.
            batch.end()
        self._link.wake()

    def give_up(self, batch: Batch) -> None:
        """Write nothing of a batch any more, and forget what it awaits."""
        batch.given_up = True
        # While the broker is unavailable calls go on failing: their commands must not gather here.
        self._queue.discard(batch.sendings)
        for sending in batch.sendings:
            self._awaited.pop(sending.message.properties.get("correlation_id"), None)

    def _end(self) -> None:
        self.ended = True
        unconfirmed = list(self._unconfirmed.values())
        for batch in [publish.batch for publish in unconfirmed] + [batch for _, batch in self._queue.all()]:
            batch.end()
        for _, batch in list(self._awaited.values()):
            batch.end()

    # --- the link's thread ---------------------------------------------------------------------------------------

    def _judge_round(self, refusal: str) -> None:
        """End the wait for confirms after a refusal: waiting longer does not help. The link goes on trying."""
        self.refusal = refusal
        if refusal:
            for _, batch in self._queue.take_all():
                batch.end()

    def opened(self, broker: Broker) -> None:
        """See that the exchange is there, and have confirms and returns come to us."""
        self.refusal = ""
        broker.on_alarm = self._on_alarm
        self._look_for_exchange(broker)
        channel = broker.channel()
        channel.confirm_select()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)
        self._channel, self._tag = channel, 0
        # The replies to these went with the connection that asked for them, and who asks again is told again.
        unheard = [one for one in list(self._awaited.values()) if one[0].answer is Answer.CONFIRMED]
        self._queue.append([one for one in unheard if not one[0].is_complete])

    def _look_for_exchange(self, broker: Broker) -> None:
        """Ask, since a publish to an exchange that is not there costs all others their channel."""
        channel = broker.channel()
        try:
            channel.exchange_declare(self._exchange, "topic", passive=True)
        except NotFound as e:
            for sending, batch in self._queue.take_all():
                batch.answer(sending, Answer.LACKING)
            raise LinkDown(f"there is no exchange {self._exchange}") from e
        channel.close()

    def work(self, broker: Broker) -> None:
        """Write what waits, as far as the window and the broker allow."""
        self._check_deadline()
        while self._queue and not self._blocked and len(self._unconfirmed) < WINDOW and broker.takes_more():
            # Its caller may have given up the last one.
            first = self._queue.pop()
            if first is None:
                break
            sending, batch = first
            if not batch.given_up:
                self._gather(broker, sending, batch)
        broker.flush()

    def lost(self) -> None:
        """Have what was not confirmed published again, in its order."""
        self._channel, self._replies, self._blocked = None, None, False
        unconfirmed = list(self._unconfirmed.values())
        self._unconfirmed.clear()
        self._queue.put_back([(one.sending, one.batch) for one in unconfirmed if not one.batch.given_up])

    def _gather(self, broker: Broker, sending: Sending, batch: Batch) -> None:
        message = sending.message
        if sending.awaits:
            reply_to = {"reply_to": self._reply_queue(broker)}
            message = replace(message, properties={**message.properties, **reply_to})
        # Before it is written: half a frame may have gone when that fails, so the message is under way.
        self._tag += 1
        sending.writings += 1
        address = message.exchange, message.routing_key
        self._unconfirmed[self._tag] = _Written(message, address, sending, batch, self._clock.monotonic())
        encoded, _ = encode(message, frame_max=broker.connection.frame_max)
        broker.gather(
            self._channel,
            encoded,
            exchange=message.exchange,
            routing_key=message.routing_key,
            mandatory=True,
        )

    def _reply_queue(self, broker: Broker) -> str:
        if self._replies is None:
            self._replies = open_replies(broker.channel(), self._on_reply)
        return self._replies

    def _check_deadline(self) -> None:
        """Distrust a connection that neither confirms nor says that it is blocked."""
        oldest = next(iter(self._unconfirmed.values()), None)
        if oldest and not self._blocked and self._clock.monotonic() - oldest.at > self._deadline:
            raise LinkDown(f"no confirm within {self._deadline:g} s")

    def _on_ack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's callback
        self._link.trouble = ""
        for publish in take(self._unconfirmed, tag, multiple=multiple):
            answer = Answer.RETURNED if publish.returned else Answer.CONFIRMED
            publish.batch.answer(publish.sending, answer)

    def _on_nack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's callback
        for publish in take(self._unconfirmed, tag, multiple=multiple):
            publish.batch.answer(publish.sending, Answer.REFUSED)

    def _on_return(self, _error: object, exchange: str, routing_key: str, returned: amqp.Message) -> None:
        if not mark_returned(self._unconfirmed, exchange, routing_key, returned):
            raise LinkDown(f"exchange {exchange!r} returned a message that is not ours")

    def _on_reply(self, message: amqp.Message) -> None:
        outcome = read_event(message.body)
        awaited = self._awaited.get(message.properties.get("correlation_id"))
        if outcome is not None and awaited is not None:
            sending, batch = awaited
            batch.tell(sending, outcome)

    def _on_alarm(self, is_blocked: bool) -> None:  # noqa: FBT001 - see `Broker.on_alarm`
        self._blocked = is_blocked
        # What waited meanwhile is not late.
        for publish in self._unconfirmed.values():
            publish.at = self._clock.monotonic()


@dataclass(slots=True, eq=False)
class _Written:
    """One writing of a command: what the broker answers for."""

    message: Outgoing
    address: tuple[str, str]
    sending: Sending
    batch: Batch
    at: float
    returned: bool = False
