"""Flow control: how many submissions may be under way, and whether the worker consumes at all."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import structlog

from bridge.domain.answers import Accepted, Ambiguous, Blocked, Refused, Unsent
from bridge.domain.circuit_breaker import DOWN, CircuitBreaker
from bridge.domain.error_words import describe
from bridge.ports import CommandSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.answers import Answer, ProviderError
    from bridge.ports import Clock, Publisher
    from bridge.worker.provider_calls import ProviderCalls

#: Seconds that a probe of the provider may take.
PROBE_TIME = 30.0
UNPUBLISHABLE = "the broker takes no messages: no outcome could be published"


class PausableSource(CommandSource, Protocol):
    """The source of commands, which the worker can pause."""

    def pause(self) -> None:
        """Take no more commands."""
        ...

    def resume(self) -> None:
        """Take commands again."""
        ...


class FlowControl:
    """Counts the submissions under way and follows how the provider is. On the loop's thread."""

    def __init__(self, calls: ProviderCalls, publisher: Publisher, clock: Clock, *, limit: int) -> None:
        """`limit` is how many calls may be under way at once."""
        self._calls = calls
        self._publisher = publisher
        self._clock = clock
        #: How many calls there may be, and why.
        self.breaker = CircuitBreaker.closed(limit)
        self._in_flight = 0
        #: Whether the source is paused.
        self.paused = False
        self._source: PausableSource | None = None
        self._post: Callable[[Callable[[], None]], None] = _post_nowhere
        self._log = structlog.get_logger()

    def start(self, source: PausableSource, post: Callable[[Callable[[], None]], None]) -> None:
        """Pause and resume `source` from now on; `post` has something run on the loop's thread."""
        self._source = source
        self._post = post

    @property
    def problem(self) -> str | None:
        """Why the provider is not called as much as configured, where that is so."""
        return self.breaker.problem

    @property
    def breaker_is_open(self) -> bool:
        """Whether no call is admitted: nothing else should make one either."""
        return self.breaker.is_open

    @property
    def in_flight(self) -> int:
        """Submissions that are being claimed, sent, looked up or recorded."""
        return self._in_flight

    def has_capacity(self) -> bool:
        """Whether one more submission may be claimed."""
        # A gate that is shut admits no call.
        return self._in_flight < self.breaker.allowed and self._publisher.available

    def enter(self, wanted: int) -> int:
        """Count as many submissions in as may be claimed, at most `wanted`; returns how many."""
        if not self._publisher.available:
            return 0
        allowed = max(0, min(wanted, self.breaker.allowed - self._in_flight))
        self._in_flight += allowed
        return allowed

    def leave(self) -> None:
        """Count one out."""
        self._in_flight -= 1

    def answered(self, answer: Answer) -> None:
        """Count one out, and learn from its answer how the provider is: refusing us, down, or well."""
        self._in_flight -= 1
        now = self._clock.monotonic()
        match answer:
            case Blocked(error=error):
                self.breaker = self.breaker.refused(now, refusal(error))
            case Ambiguous(error=error) if (
                error.http_status == HTTPStatus.CONFLICT or error.name == "internal"
            ):
                # About this one alone: the provider's word on a submission, or a mistake of ours.
                return
            case Ambiguous(error=error):
                self.breaker = self.breaker.failed(now, f"{DOWN}: {describe(error)}")
            case Unsent(error=error):
                if not answer.throttled:
                    self.breaker = self.breaker.failed(now, f"{DOWN}: {describe(error)}")
            case Accepted() | Refused():
                if self.breaker.problem is not None or self.breaker.failures:
                    self.breaker = self.breaker.succeeded()

    def update(self, problem: str | None) -> None:
        """Pause the source while nothing can be sent or the worker itself is in `problem`, else resume it; probe.

        A confirm that is late, or a connection that was just lost, is no reason to pause, though nothing is claimed
        meanwhile: the confirm comes with the queue's next leader, and until then a consumer that was cancelled could
        not be one again.
        """
        is_open = not self.breaker.allowed
        if is_open:
            problem = self.breaker.problem or DOWN
            self._probe()
        elif problem is None and self._publisher.out_of_service:
            problem = UNPUBLISHABLE
        if (problem is not None) == self.paused or self._source is None:
            return
        self.paused = problem is not None
        if self.paused:
            seconds = self.breaker.pause if is_open else None
            self._log.warning("consuming.paused", reason=problem, seconds=seconds)
            self._source.pause()
        else:
            self._log.info("consuming.resumed")
            self._source.resume()

    def _probe(self) -> None:
        """Probe the provider where that is due, until it is well again."""
        now = self._clock.monotonic()
        if self.breaker.probe_due(now):
            self.breaker = self.breaker.probing()
            self._calls.probe(
                until=now + PROBE_TIME, probed=lambda well: self._post(lambda: self._probed(well=well))
            )

    def _probed(self, *, well: bool) -> None:
        self.breaker = self.breaker.probed(self._clock.monotonic(), well=well)
        if not well:
            self._log.warning("provider.unhealthy", reason=self.breaker.problem, seconds=self.breaker.pause)


def _post_nowhere(_happened: Callable[[], None]) -> None:
    """Do nothing: no loop has started yet."""


def refusal(error: ProviderError) -> str:
    """Say what the account is refused for, and where to look."""
    if error.name == "clock":
        return error.message or error.name
    if error.name == "oauth" or error.http_status == HTTPStatus.UNAUTHORIZED:
        return f"the provider refuses the credentials in [cpaas]: {describe(error)}"
    if error.http_status is not None and 300 <= error.http_status < 400:
        return f"the provider redirects, is cpaas.base_url right? {describe(error)}"
    return f"the provider refuses the account: {describe(error)}"
