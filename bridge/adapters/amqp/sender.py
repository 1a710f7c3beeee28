"""Publishes commands for callers that wait for their confirms, on a connection with a thread of its own.

What the end of a connection left unconfirmed is published again on the next one, for as long as somebody waits: two
commands with one id are one command (SPEC section 3.1). So a restart of the broker is a delay, no failure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from amqp.exceptions import NotFound

from bridge.adapters.amqp.batch import BrokerAnswer
from bridge.adapters.amqp.confirm_channel import WINDOW, ConfirmChannel, Publish
from bridge.adapters.amqp.connection_owner import ConnectionOwner
from bridge.adapters.amqp.connection_thread import ConnectionDown, ConnectionOptions
from bridge.adapters.amqp.replies import open_replies, read_event
from bridge.adapters.amqp.send_queue import SendQueue

if TYPE_CHECKING:
    import amqp

    from bridge.adapters.amqp.batch import Batch, Sending
    from bridge.adapters.amqp.connection import Broker

#: The meaning of an alarm of the broker to a publisher.
BLOCKED = "the broker takes nothing for now: an alarm of its memory or disk"


@dataclass(slots=True, eq=False, kw_only=True)
class _Writing(Publish):
    """One writing of a command: what the broker answers for."""

    sending: Sending
    batch: Batch


class Sender(ConnectionOwner):
    """Publishes commands and receives the outcomes of those that await them. All but the handler's part: any thread."""

    def __init__(self, connection: ConnectionOptions, *, exchange: str, deadline: float) -> None:
        """`deadline`: seconds without an answer after which a connection is not trusted any more."""
        super().__init__(replace(connection, on_crash=self._end))
        self._connection.on_round = self._judge_round
        self._exchange = exchange
        self._queue = SendQueue()
        self._channel = ConfirmChannel[_Writing](
            refused=self._on_refused, returned=self._on_returned, deadline=deadline
        )
        #: Those whose outcomes somebody waits for, by their correlation ids.
        self._pending: dict[object, tuple[Sending, Batch]] = {}
        self._replies: str | None = None
        self.ended = False
        #: Why the broker does not let us in, as long as it does not; empty where it does, or was not asked yet.
        self.refusal = ""

    def stop(self, timeout: float = 5.0) -> None:
        """Close the connection, within `timeout` seconds; callers stop waiting for what is not confirmed by then."""
        super().stop(timeout)
        self._end()

    @property
    def problem(self) -> str:
        """Why nothing is confirmed, as far as it can be told."""
        return BLOCKED if self._connection.blocked else self._connection.problem

    def publish(self, batch: Batch) -> None:
        """Take what a caller then waits for; who stops waiting calls `give_up`. Refused at once during a refusal."""
        if not self.refusal:
            for sending in batch.sendings:
                if sending.awaits:
                    self._pending[sending.message.properties["correlation_id"]] = sending, batch
            self._queue.append([(sending, batch) for sending in batch.sendings])
        if self.ended or self.refusal:
            # The thread that ended it, or was refused, may not have seen this one.
            batch.end()
        self._connection.wake()

    def give_up(self, batch: Batch) -> None:
        """Write nothing of a batch any more, and forget what it awaits."""
        batch.given_up = True
        # While the broker is unavailable calls go on failing: their commands must not gather here.
        self._queue.discard(batch.sendings)
        for sending in batch.sendings:
            self._pending.pop(sending.message.properties.get("correlation_id"), None)

    def _end(self) -> None:
        self.ended = True
        unconfirmed = list(self._channel.unconfirmed.values())
        for batch in [publish.batch for publish in unconfirmed] + [batch for _, batch in self._queue.all()]:
            batch.end()
        for _, batch in list(self._pending.values()):
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
        self._look_for_exchange(broker)
        self._channel.open(broker)
        # The replies to these went with the connection that asked for them, and who asks again is told again.
        unheard = [one for one in list(self._pending.values()) if one[0].answer is BrokerAnswer.CONFIRMED]
        self._queue.append([one for one in unheard if not one[0].is_complete])

    def _look_for_exchange(self, broker: Broker) -> None:
        """Ask, since a publish to an exchange that is not there costs all others their channel."""
        channel = broker.channel()
        try:
            channel.exchange_declare(self._exchange, "topic", passive=True)
        except NotFound as e:
            for sending, batch in self._queue.take_all():
                batch.answer(sending, BrokerAnswer.LACKING)
            raise ConnectionDown(f"there is no exchange {self._exchange}") from e
        channel.close()

    def work(self, broker: Broker) -> None:
        """Write what waits, as far as the window and the broker allow."""
        now, unconfirmed = self._clock.monotonic(), self._channel.unconfirmed
        self._channel.check_deadline(broker, now)
        while self._queue and not broker.blocked and len(unconfirmed) < WINDOW:
            # Its caller may have given up the last one.
            first = self._queue.pop() if broker.has_capacity or broker.check_capacity() else None
            if first is None:
                break
            sending, batch = first
            if not batch.given_up:
                self._put(broker, sending, batch, now)
        broker.flush()

    def lost(self) -> None:
        """Have what was not confirmed published again, in its order."""
        self._replies = None
        lost = self._channel.lose()
        self._queue.put_back([(one.sending, one.batch) for one in lost if not one.batch.given_up])

    def _put(self, broker: Broker, sending: Sending, batch: Batch, now: float) -> None:
        message = sending.message
        if sending.awaits:
            reply_to = {"reply_to": self._reply_queue(broker)}
            message = replace(message, properties={**message.properties, **reply_to})
        sending.writings += 1
        address = message.exchange, message.routing_key
        confirmed = partial(self._answer, sending, batch, BrokerAnswer.CONFIRMED)
        self._channel.put(broker, _Writing(message, confirmed, address, sending=sending, batch=batch), now)

    def _reply_queue(self, broker: Broker) -> str:
        if self._replies is None:
            self._replies = open_replies(broker.channel(), self._on_reply)
        return self._replies

    def _answer(self, sending: Sending, batch: Batch, answer: BrokerAnswer) -> None:
        self._connection.problem = ""
        batch.answer(sending, answer)

    def _on_returned(self, publish: _Writing) -> None:
        self._answer(publish.sending, publish.batch, BrokerAnswer.RETURNED)

    def _on_refused(self, publish: _Writing) -> None:
        publish.batch.answer(publish.sending, BrokerAnswer.REFUSED)

    def _on_reply(self, message: amqp.Message) -> None:
        outcome = read_event(message.body)
        pending = self._pending.get(message.properties.get("correlation_id"))
        if outcome is not None and pending is not None:
            sending, batch = pending
            batch.add_outcome(sending, outcome)
