"""A connection for one thing: lent, with its errors in the operator's words, and publishes that are waited for."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from amqp.exceptions import NotFound

from bridge.adapters.amqp.connection import BROKER_ERRORS, Broker
from bridge.adapters.amqp.opening import BrokerUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import amqp

    from bridge.adapters.amqp.opening import BrokerAddress
    from bridge.ports import Clock

#: Seconds that the broker may take to confirm.
CONFIRM_TIMEOUT = 10.0


@contextmanager
def connected(address: BrokerAddress) -> Iterator[Broker]:
    """Lend a connection.

    Raises:
        ConnectionError: the broker is not reachable, refuses, lacks something of ours or falls silent.

    """
    try:
        broker = Broker.open_any(address, "sms-bridge command line")
    except BrokerUnreachable as e:
        raise ConnectionError(str(e)) from e
    try:
        yield broker
    except NotFound as e:
        raise ConnectionError(
            f"the broker lacks something: {e.reply_text}; see `bridge topology check`"
        ) from e
    except Unanswered:
        raise
    except BROKER_ERRORS as e:
        raise ConnectionError(f"the broker failed us: {type(e).__name__}: {e}") from e
    finally:
        broker.close()


class Unanswered(ConnectionError):
    """The broker does not do what it is asked for; the message says why, and what to do."""


class Unconfirmed(Unanswered):
    """The broker has not taken a message; the message says why, as far as it can be told."""


class Confirmed:
    """Publishes on a channel of its own, one message at a time, each confirmed before the next.

    After an error the connection is to be thrown away: a late confirm would pass for the next message's.
    """

    def __init__(self, broker: Broker, clock: Clock, *, timeout: float = CONFIRM_TIMEOUT) -> None:
        """`timeout`: seconds that each confirm may take."""
        self._broker = broker
        self._timeout = timeout
        self._clock = clock
        self._answers: list[str] = []
        self._channel = broker.channel()
        self._channel.confirm_select()
        self._channel.events["basic_ack"].add(lambda *_: self._answers.append("ack"))
        self._channel.events["basic_nack"].add(lambda *_: self._answers.append("nack"))
        self._channel.events["basic_return"].add(lambda *_: self._answers.append("return"))

    def publish(self, message: amqp.Message, *, exchange: str, routing_key: str) -> None:
        """Return once the broker has the message on a queue.

        Raises:
            Unconfirmed: it does not say so in time, or refuses, or has no queue for it.

        """
        self._answers.clear()
        self._broker.publish(
            self._channel, message, exchange=exchange, routing_key=routing_key, mandatory=True
        )
        deadline = self._clock.monotonic() + self._timeout
        while not self._answers and self._clock.monotonic() < deadline:
            drain_for(self._broker, deadline - self._clock.monotonic())
        if not self._answers:
            raise Unconfirmed(f"no confirm within {self._timeout:g} s: is the broker blocked?")
        if self._answers[0] == "nack":
            raise Unconfirmed(f"the broker refuses the command: is the queue behind {exchange} full?")
        if self._answers[0] == "return":
            raise Unconfirmed(
                f"exchange {exchange} has no queue for the command: run `bridge topology declare`"
            )


def drain_for(broker: Broker, seconds: float) -> None:
    """Handle what arrives, waiting so many seconds for it and never more than one."""
    if broker.readable(max(0.0, min(seconds, 1.0))):
        broker.drain()
    broker.heartbeat()
