"""Use cases of `bridge dead`."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from bridge.adapters.amqp.dead_letter_queue import DeadLetters
from bridge.adapters.clock import SystemClock
from bridge.app import parts
from bridge.app.required import require
from bridge.domain.contracts.commands import SEND
from bridge.domain.dead_letters import DeadLetter, DeadLetterFilter, read_letter, replay_of
from bridge.ops import failpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.domain.messages import Delivery, Outgoing
    from bridge.settings import Settings


def dead_letters(settings: Settings, wanted: DeadLetterFilter) -> Iterator[DeadLetter]:
    """Yield the selected dead letters, and leave them in the queue."""
    read = _reader(settings)
    with closing(_queue(settings).read()) as deliveries:
        yield from islice(filter(wanted.matches, map(read, deliveries)), wanted.limit)


def replay_dead(settings: Settings, wanted: DeadLetterFilter, *, resend: bool) -> Iterator[DeadLetter]:
    """Replay the selected dead letters; yield each once its command is confirmed and the dead letter removed."""
    read = _reader(settings)

    def copy_of(delivery: Delivery) -> Outgoing | None:
        letter = read(delivery)
        if not wanted.matches(letter):
            return None
        return replay_of(letter, exchange=settings.broker.commands_exchange, routing_key=SEND, resend=resend)

    confirmed = partial(failpoints.reach, "replayed")
    with closing(_queue(settings).send_back(copy_of, confirmed)) as deliveries:
        yield from map(read, islice(deliveries, wanted.limit))


def delete_dead(settings: Settings, wanted: DeadLetterFilter) -> Iterator[DeadLetter]:
    """Delete the selected dead letters; yield each once it is removed."""
    read = _reader(settings)
    with closing(_queue(settings).delete(lambda delivery: wanted.matches(read(delivery)))) as deliveries:
        yield from map(read, islice(deliveries, wanted.limit))


def _reader(settings: Settings) -> Callable[[Delivery], DeadLetter]:
    return partial(read_letter, rules=parts.command_rules(settings), now=SystemClock().now())


def _queue(settings: Settings) -> DeadLetters:
    require(settings, broker=True)
    return DeadLetters(parts.broker_address(settings), parts.topology(settings), SystemClock())
