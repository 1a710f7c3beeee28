"""A connection for one thing: lent, with its errors in the operator's words, and publishes that are waited for."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

from amqp.exceptions import NotFound

from bridge.adapters.amqp.confirm_channel import ConfirmChannel, Publish
from bridge.adapters.amqp.connection import BROKER_ERRORS, Broker
from bridge.adapters.amqp.handshake import BrokerUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.adapters.amqp.handshake import BrokerAddress
    from bridge.domain.messages import Outgoing
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


class NotConfirmed(Unanswered):
    """The broker has not taken a message; the message says why, as far as it can be told."""


class ConfirmedPublishing:
    """Publishes on a channel of its own, one message at a time, each confirmed before the next."""

    def __init__(self, broker: Broker, clock: Clock, *, timeout: float = CONFIRM_TIMEOUT) -> None:
        """`timeout`: seconds that each confirm may take."""
        self._broker = broker
        self._timeout = timeout
        self._clock = clock
        self._channel = ConfirmChannel[Publish](refused=_refuse, returned=_return)
        self._channel.open(broker)

    def publish(self, message: Outgoing) -> None:
        """Return once the broker has the message on a queue.

        Raises:
            NotConfirmed: it does not say so in time, or refuses, or has no queue for it.

        """
        is_confirmed = Event()
        now = self._clock.monotonic()
        publish = Publish(message, is_confirmed.set, (message.exchange, message.routing_key))
        self._channel.put(self._broker, publish, now)
        self._broker.flush()
        while not is_confirmed.is_set():
            left = now + self._timeout - self._clock.monotonic()
            if left <= 0:
                raise NotConfirmed(f"no confirm within {self._timeout:g} s: is the broker blocked?")
            drain_for(self._broker, left)


def _refuse(publish: Publish) -> None:
    raise NotConfirmed(f"the broker refuses the command: is the queue behind {publish.address[0]} full?")


def _return(publish: Publish) -> None:
    raise NotConfirmed(
        f"exchange {publish.address[0]} has no queue for the command: run `bridge topology declare`"
    )


def drain_for(broker: Broker, seconds: float) -> None:
    """Handle what arrives, waiting so many seconds for it and never more than one."""
    if broker.readable(max(0.0, min(seconds, 1.0))):
        broker.drain()
    broker.heartbeat()
