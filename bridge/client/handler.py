"""Handler checks and retries: which handlers are refused, when one is called again, when its event is dead-lettered."""

from __future__ import annotations

import concurrent.futures
import functools
import inspect
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.adapters.amqp.events import EventQueue
from bridge.client.arguments import MAX_NAME, broker_name, count, expect, seconds, wrong_type
from bridge.client.errors import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.client.events import Event
    from bridge.client.log import ClientLog
    from bridge.client.options import Options

#: Events that the broker delivers before the earlier ones are acknowledged.
PREFETCH = 20
#: How often a handler may fail with one event before that is dead-lettered.
TRIES = 5
#: Seconds until the handler is called again: the first time, and the longest that it doubles to.
FIRST_BACKOFF = 1.0
MAX_BACKOFF = 30.0

#: Bytes of `.dead`, which the name of the queue for rejected events ends with.
_SUFFIX = 5
#: The largest prefetch count of AMQP (0-9-1 section 1.8.3.1: a short).
_MAX_PREFETCH = 65_535


class UnfinishedError(TypeError):
    """A function returned a coroutine, a future or a generator in place of doing its work."""


class RetryLater(ClientError):
    """For a handler to raise: the event is not at fault (a database is unavailable). It is retried without a limit."""


class Discard(ClientError):
    """For a handler to raise: a retry cannot help. The event is dead-lettered at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerOptions:
    """How a consumer takes events and retries. Times are in seconds."""

    #: How often a handler may fail with one event before that is dead-lettered.
    tries: int = TRIES
    #: Until the handler is called again; doubled with each failure, up to 30 s.
    first_pause: float = FIRST_BACKOFF
    #: Events that the broker delivers before the earlier ones are acknowledged.
    prefetch: int = PREFETCH
    #: Whether the queue and its bindings are declared. Without it the queue must exist, with any properties.
    declare: bool = True

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            TypeError, ValueError: a field has a wrong type or an impossible value.

        """
        count("tries", self.tries)
        seconds("first_pause", self.first_pause, zero=True)
        count("prefetch", self.prefetch, most=_MAX_PREFETCH)
        expect("declare", self.declare, bool, "True or False")


def checked_consuming(consuming: object) -> ConsumerOptions:
    """Return the options of a consumer, the defaults for None.

    Raises:
        TypeError: they are not ConsumerOptions.

    """
    if consuming is None:
        return ConsumerOptions()
    if not isinstance(consuming, ConsumerOptions):
        raise wrong_type("consuming", consuming, "a ConsumerOptions")
    return consuming


def event_queue(queue: object, keys: object, options: Options, consuming: ConsumerOptions) -> EventQueue:
    """Return a consumer's queue and its bindings.

    Raises:
        TypeError, ValueError: an argument has a wrong type or an impossible value.

    """
    return EventQueue(
        exchange=options.events,
        name=broker_name("queue", queue, most=MAX_NAME - _SUFFIX),
        keys=_checked_keys(keys),
        prefetch=consuming.prefetch,
        declares=consuming.declare,
    )


def _checked_keys(keys: object) -> tuple[str, ...]:
    """Return binding keys. One string in place of a list would be a key for each of its letters."""
    if not isinstance(keys, list | tuple | set | frozenset):
        raise wrong_type("keys", keys, 'a list of str, such as ["sms.outbound.*"]')
    return tuple(broker_name(f"keys[{position}]", key) for position, key in enumerate(keys))


class Retries:
    """When a handler that fails with an event is called again."""

    def __init__(self, consuming: ConsumerOptions) -> None:
        self._tries = consuming.tries
        self._first_pause = consuming.first_pause

    def pause_after(self, number: int, error: BaseException) -> float | None:
        """Return the seconds until the next call, where call `number` (from 1 on) failed; None: no further call."""
        if isinstance(error, Discard) or (number >= self._tries and not isinstance(error, RetryLater)):
            return None
        return min(MAX_BACKOFF, self._first_pause * 2.0 ** min(number - 1, 10))


def check_blocking(name: str, function: object) -> None:
    """Refuse a function of a blocking consumer that would return before its work is done.

    Raises:
        TypeError: it is not callable, is `async def`, or is a generator function.

    """
    check_callable(name, function)
    if _is_one_of(function, (inspect.iscoroutinefunction, *_GENERATORS)):
        raise TypeError(
            f"{name} must be a plain function: this one is async or a generator, so its work would not be done "
            "when it returns. For `async def` use bridge.client.aio.Consumer"
        )


def check_awaitable(name: str, function: object) -> None:
    """Refuse a function of an asyncio consumer that would return before its work is done, though awaited.

    Raises:
        TypeError: it is not callable, or is a generator function.

    """
    check_callable(name, function)
    if _is_one_of(function, _GENERATORS):
        raise TypeError(
            f"{name} must be a function without `yield`: a generator does nothing until it is iterated"
        )


def check_callable(name: str, function: object) -> None:
    """Check that an argument can be called.

    Raises:
        TypeError: it cannot.

    """
    if not callable(function):
        raise wrong_type(name, function, "a function that takes an Event")


def check_seen(seen: object, *, blocking: bool) -> None:
    """Check that `seen` has the methods of `SeenEvents`, and for a `blocking` consumer that they are not async.

    Raises:
        TypeError: it has not.

    """
    if isinstance(seen, type):
        raise TypeError(f"seen must be an object, not the class {seen.__name__}")
    for name in ("has", "add"):
        method = getattr(seen, name, None)
        if not callable(method):
            raise wrong_type("seen", seen, "an object with the methods has(event_id) and add(event_id)")
        (check_blocking if blocking else check_awaitable)(f"seen.{name}", method)


def check_finished(name: str, returned: object) -> None:
    """Refuse what a function returned in place of doing its work.

    Raises:
        UnfinishedError: it is a coroutine, a future or a generator.

    """
    is_unfinished = (
        inspect.isawaitable(returned)
        or inspect.isasyncgen(returned)
        or inspect.isgenerator(returned)
        or isinstance(returned, concurrent.futures.Future)
    )
    if not is_unfinished:
        return
    if inspect.iscoroutine(returned):
        # Python would warn that it was never awaited, and this error is clearer.
        returned.close()
    raise UnfinishedError(
        f"{name} returned a {type(returned).__name__}, so its work is not done; the event was not acknowledged. "
        "Return after the work is done; an `async def` handler is for bridge.client.aio.Consumer"
    )


def log_failure(log: ClientLog, event: Event, error: BaseException, number: int) -> None:
    """Log where a handler failed, not its message: that may hold a number or a text."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    log.warning(
        "event.rejected" if isinstance(error, Discard) else "handler.failed",
        type=event.type,
        id=event.id,
        error=type(error).__name__,
        at=f"{frame.filename}:{frame.lineno}",
        attempt=number,
    )


#: Recognise functions whose call does nothing yet.
_GENERATORS = (inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def _is_one_of(function: object, kinds: Iterable[Callable[[object], bool]]) -> bool:
    """Whether a function is of one of some kinds, as far as that is known without a call."""
    while isinstance(function, functools.partial):
        function = function.func
    # An object is called by the `__call__` of its class, which `inspect` does not look at.
    called = getattr(type(function), "__call__", None)  # noqa: B004 - its kind is what counts
    return any(is_kind(function) or is_kind(called) for is_kind in kinds)
