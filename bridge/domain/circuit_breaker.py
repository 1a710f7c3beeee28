"""How many calls the provider may be sent at once: all, none, or a few to see whether it is well again.

    open       the configured number of calls
    closed     none, for 1 s, doubling with each failure, to 60 s where the account is refused and to 5 s where the API
               is down: what waits shall flow soon after its return; then a probe, which sends nothing
    half-open  after a good probe one call; each success doubles that until the gate is open; a failure closes it again

It closes when the account is refused, and when so many calls in a row fail that the API seems down as a whole. A
refusal of one submission (4xx) is no failure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Literal

#: Seconds the gate stays closed: the first time, and the most it doubles to for a refused account and an API that is
#: down.
FIRST_BACKOFF = 1.0
MAX_BACKOFF = 60.0
LONGEST_DOWN = 5.0
#: Failures in a row after which the API counts as down.
DOWN_AFTER = 5
DOWN = "the provider does not answer, or answers with errors"

#: Why it is not open: the account as a whole is refused, or the provider is down.
Cause = Literal["account", "provider"]
_LONGEST: dict[Cause, float] = {"account": MAX_BACKOFF, "provider": LONGEST_DOWN}


class _Phase(Enum):
    CLOSED = auto()
    OPEN = auto()
    PROBING = auto()
    HALF_OPEN = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreaker:
    """The state of the gate; each step gives a new one. Times are `Clock.monotonic` seconds."""

    #: Calls at once while the gate is open.
    limit: int
    #: Calls at once now.
    allowed: int
    phase: _Phase = _Phase.CLOSED
    open_until: float = 0.0
    pause: float = 0.0
    failures: int = 0
    #: Why it was closed last; None while it is open.
    cause: Cause | None = None
    #: Why it is not open; names no number and no secret.
    problem: str | None = None

    @classmethod
    def closed(cls, limit: int) -> CircuitBreaker:
        """Return an open gate for `limit` calls at once."""
        return cls(limit=limit, allowed=limit)

    @property
    def is_open(self) -> bool:
        """Whether no call is admitted at all."""
        return self.phase in (_Phase.OPEN, _Phase.PROBING)

    @property
    def state(self) -> Literal["closed", "half_open", "open"]:
        """How far it is open."""
        if self.is_open:
            return "open"
        return "closed" if self.phase is _Phase.CLOSED else "half_open"

    def refused(self, now: float, problem: str) -> CircuitBreaker:
        """Close: the account is refused. Calls that were under way when it closed do not close it again."""
        return self if self.is_open else self._opened(now, problem, "account")

    def failed(self, now: float, why: str = DOWN) -> CircuitBreaker:
        """Count a failure of the API; the last of many, and any while half-open, closes."""
        if self.is_open:
            return self
        failures = self.failures + 1
        if self.phase is _Phase.HALF_OPEN or failures >= DOWN_AFTER:
            return self._opened(now, self.problem or why, "provider")
        return replace(self, failures=failures)

    def succeeded(self) -> CircuitBreaker:
        """Open a little further after an answer that shows the API well."""
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
        """Wait for the probe's answer."""
        return replace(self, phase=_Phase.PROBING)

    def probed(self, now: float, *, well: bool) -> CircuitBreaker:
        """Admit one call after a good probe; after a bad one stay closed, for longer."""
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
