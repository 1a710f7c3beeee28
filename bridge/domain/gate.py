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
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
LONGEST_DOWN = 5.0
#: Failures in a row after which the API counts as down.
DOWN_AFTER = 5
DOWN = "the provider does not answer, or answers with errors"

#: Why it is not open: the account as a whole is refused, or the provider is down.
Cause = Literal["account", "provider"]
_LONGEST: dict[Cause, float] = {"account": LONGEST_PAUSE, "provider": LONGEST_DOWN}


class _Phase(Enum):
    OPEN = auto()
    CLOSED = auto()
    PROBING = auto()
    HALF_OPEN = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The state of the gate; each step gives a new one. Times are `Clock.monotonic` seconds."""

    #: Calls at once while the gate is open.
    limit: int
    #: Calls at once now.
    admitted: int
    phase: _Phase = _Phase.OPEN
    closed_until: float = 0.0
    pause: float = 0.0
    failures: int = 0
    #: Why it was closed last; None while it is open.
    cause: Cause | None = None
    #: Why it is not open; names no number and no secret.
    trouble: str | None = None

    @classmethod
    def open(cls, limit: int) -> Gate:
        """Return an open gate for `limit` calls at once."""
        return cls(limit=limit, admitted=limit)

    @property
    def shut(self) -> bool:
        """Whether no call is admitted at all."""
        return self.phase in (_Phase.CLOSED, _Phase.PROBING)

    @property
    def state(self) -> Literal["open", "half_open", "shut"]:
        """How far it is open."""
        if self.shut:
            return "shut"
        return "open" if self.phase is _Phase.OPEN else "half_open"

    def refused(self, now: float, trouble: str) -> Gate:
        """Close: the account is refused. Calls that were under way when it closed do not close it again."""
        return self if self.shut else self._closed(now, trouble, "account")

    def failed(self, now: float, why: str = DOWN) -> Gate:
        """Count a failure of the API; the last of many, and any while half-open, closes."""
        if self.shut:
            return self
        failures = self.failures + 1
        if self.phase is _Phase.HALF_OPEN or failures >= DOWN_AFTER:
            return self._closed(now, self.trouble or why, "provider")
        return replace(self, failures=failures)

    def succeeded(self) -> Gate:
        """Open a little further after an answer that shows the API well."""
        if self.phase is _Phase.OPEN:
            return self if not self.failures else replace(self, failures=0)
        if self.shut:
            return self
        admitted = min(self.limit, self.admitted * 2)
        return Gate.open(self.limit) if admitted == self.limit else replace(self, admitted=admitted)

    def probe_due(self, now: float) -> bool:
        """Whether it is time for a probe."""
        return self.phase is _Phase.CLOSED and now >= self.closed_until

    def probing(self) -> Gate:
        """Wait for the probe's answer."""
        return replace(self, phase=_Phase.PROBING)

    def probed(self, now: float, *, well: bool) -> Gate:
        """Admit one call after a good probe; after a bad one stay closed, for longer."""
        if not well:
            return self._closed(now, self.trouble or DOWN, self.cause or "provider")
        return replace(self, phase=_Phase.HALF_OPEN, admitted=1, failures=0)

    def room(self, in_flight: int) -> bool:
        """Whether one more call may start."""
        return not self.shut and in_flight < self.admitted

    def _closed(self, now: float, trouble: str, cause: Cause) -> Gate:
        pause = min(_LONGEST[cause], self.pause * 2 or FIRST_PAUSE)
        return replace(
            self,
            phase=_Phase.CLOSED,
            admitted=0,
            closed_until=now + pause,
            pause=pause,
            cause=cause,
            failures=0,
            trouble=trouble,
        )
