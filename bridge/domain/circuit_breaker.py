"""Circuit breaker: the number of concurrent calls that the provider may receive.

    closed     the configured number of calls
    open       no calls, for 1 s, doubled with each failure, up to 60 s if the account is refused and 5 s if the API is
               down, so that submissions flow soon after its return; then a probe, which sends nothing
    half-open  one call after a successful probe; each success doubles the number until the circuit breaker is closed,
               and a failure opens it again

It opens when the account is refused, and after so many failures in a row that the API seems to be down. The rejection
of one submission (4xx) does not count as a failure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Literal

#: Seconds for which the circuit breaker stays open: at first, at most for a refused account, at most for an API that is
#: down.
FIRST_BACKOFF = 1.0
MAX_BACKOFF = 60.0
LONGEST_DOWN = 5.0
#: Failures in a row after which the API counts as down.
DOWN_AFTER = 5
DOWN = "the provider does not answer, or answers with errors"

#: The reason why it opened: the account is refused, or the provider is down.
Cause = Literal["account", "provider"]
_LONGEST: dict[Cause, float] = {"account": MAX_BACKOFF, "provider": LONGEST_DOWN}


class _Phase(Enum):
    CLOSED = auto()
    OPEN = auto()
    PROBING = auto()
    HALF_OPEN = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreaker:
    """An immutable state of the circuit breaker; each step returns a new one. Times are `Clock.monotonic` seconds."""

    #: Concurrent calls while it is closed.
    limit: int
    #: Concurrent calls now.
    allowed: int
    phase: _Phase = _Phase.CLOSED
    open_until: float = 0.0
    pause: float = 0.0
    failures: int = 0
    #: Why it opened last; None while it is closed.
    cause: Cause | None = None
    #: The reason as a text for logs, without numbers and secrets; None while it is closed.
    problem: str | None = None

    @classmethod
    def closed(cls, limit: int) -> CircuitBreaker:
        """Return a closed circuit breaker for `limit` concurrent calls."""
        return cls(limit=limit, allowed=limit)

    @property
    def is_open(self) -> bool:
        """Whether it allows no call at all."""
        return self.phase in (_Phase.OPEN, _Phase.PROBING)

    @property
    def state(self) -> Literal["closed", "half_open", "open"]:
        """The state as logs and metrics name it."""
        if self.is_open:
            return "open"
        return "closed" if self.phase is _Phase.CLOSED else "half_open"

    def refused(self, now: float, problem: str) -> CircuitBreaker:
        """Open: the account is refused. Calls that were in flight when it opened do not extend the back-off."""
        return self if self.is_open else self._opened(now, problem, "account")

    def failed(self, now: float, why: str = DOWN) -> CircuitBreaker:
        """Count a failure of the API; open after `DOWN_AFTER` in a row, or after one while half-open."""
        if self.is_open:
            return self
        failures = self.failures + 1
        if self.phase is _Phase.HALF_OPEN or failures >= DOWN_AFTER:
            return self._opened(now, self.problem or why, "provider")
        return replace(self, failures=failures)

    def succeeded(self) -> CircuitBreaker:
        """Allow more calls after a successful one."""
        if self.phase is _Phase.CLOSED:
            return self if not self.failures else replace(self, failures=0)
        if self.is_open:
            return self
        allowed = min(self.limit, self.allowed * 2)
        return CircuitBreaker.closed(self.limit) if allowed == self.limit else replace(self, allowed=allowed)

    def probe_due(self, now: float) -> bool:
        """Whether it is time for a probe."""
        return self.phase is _Phase.OPEN and now >= self.open_until

    def probing(self) -> CircuitBreaker:
        """Begin a probe, and wait for its result."""
        return replace(self, phase=_Phase.PROBING)

    def probed(self, now: float, *, well: bool) -> CircuitBreaker:
        """Allow one call after a successful probe; stay open for longer after a failed one."""
        if not well:
            return self._opened(now, self.problem or DOWN, self.cause or "provider")
        return replace(self, phase=_Phase.HALF_OPEN, allowed=1, failures=0)

    def has_capacity(self, in_flight: int) -> bool:
        """Whether one more call may start."""
        return not self.is_open and in_flight < self.allowed

    def _opened(self, now: float, problem: str, cause: Cause) -> CircuitBreaker:
        pause = min(_LONGEST[cause], self.pause * 2 or FIRST_BACKOFF)
        return replace(
            self,
            phase=_Phase.OPEN,
            allowed=0,
            open_until=now + pause,
            pause=pause,
            cause=cause,
            failures=0,
            problem=problem,
        )
