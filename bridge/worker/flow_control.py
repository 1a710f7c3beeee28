"""Flow control: limits the submissions in flight, and pauses the consumer while nothing can be sent."""

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
        """Stop consuming."""
        ...

    def resume(self) -> None:
        """Consume again."""
        ...


class FlowControl:
    """Counts the submissions in flight and holds the circuit breaker. Used on the loop's thread."""

    def __init__(self, calls: ProviderCalls, publisher: Publisher, clock: Clock, *, limit: int) -> None:
        """`limit` is the maximum of concurrent calls."""
        self._calls = calls
        self._publisher = publisher
        self._clock = clock
        self.breaker = CircuitBreaker.closed(limit)
        self._in_flight = 0
        #: Whether the source is paused.
        self.paused = False
        self._source: PausableSource | None = None
        self._post: Callable[[Callable[[], None]], None] = _post_nowhere
        self._log = structlog.get_logger()

    def start(self, source: PausableSource, post: Callable[[Callable[[], None]], None]) -> None:
        """Pause and resume `source` from now on; `post` runs a callback on the loop's thread."""
        self._source = source
        self._post = post

    @property
    def problem(self) -> str | None:
        """The reason why the circuit breaker limits calls; None while it is closed."""
        return self.breaker.problem

    @property
    def breaker_is_open(self) -> bool:
        """Whether the circuit breaker is open: other parts should not call the provider either."""
        return self.breaker.is_open

    @property
    def in_flight(self) -> int:
        """The number of submissions that are being claimed, sent, looked up or recorded."""
        return self._in_flight

    def has_capacity(self) -> bool:
        """Whether one more submission may be claimed."""
        # An open circuit breaker allows 0 calls.
        return self._in_flight < self.breaker.allowed and self._publisher.available

    def enter(self, wanted: int) -> int:
        """Count up to `wanted` submissions as in flight; returns how many may be claimed."""
        if not self._publisher.available:
            return 0
        allowed = max(0, min(wanted, self.breaker.allowed - self._in_flight))
        self._in_flight += allowed
        return allowed

    def leave(self) -> None:
        """Count one submission as no longer in flight."""
        self._in_flight -= 1

    def answered(self, answer: Answer) -> None:
        """Count one submission as no longer in flight, and update the circuit breaker with its answer."""
        self._in_flight -= 1
        now = self._clock.monotonic()
        match answer:
            case Blocked(error=error):
                self.breaker = self.breaker.refused(now, refusal(error))
            case Ambiguous(error=error) if (
                error.http_status == HTTPStatus.CONFLICT or error.name == "internal"
            ):
                # This concerns the submission alone: a conflict, or a defect of the bridge.
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
        """Pause the source while nothing can be sent or the worker has a `problem`, else resume it; start a due probe.

        A late confirm or a connection that was just lost does not pause the source, though no submission is claimed in
        that time. The confirm comes with the queue's next leader, and until then a cancelled consumer could not
        register again.
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
        """Start a probe of the provider, if one is due."""
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
    """Return the reason why the provider refuses the account, and the setting to check."""
    if error.name == "clock":
        return error.message or error.name
    if error.name == "oauth" or error.http_status == HTTPStatus.UNAUTHORIZED:
        return f"the provider refuses the credentials in [cpaas]: {describe(error)}"
    if error.http_status is not None and 300 <= error.http_status < 400:
        return f"the provider redirects, check cpaas.base_url: {describe(error)}"
    return f"the provider refuses the account: {describe(error)}"
