"""How many calls the provider may be sent at once: all, none, or a few to see whether it is well again.

open      the configured number of calls
closed    none, for 1 s, doubling to 60 s with each failure
probing   one call; each good answer doubles that until the gate is open; a failure closes it again
"""

from __future__ import annotations

from dataclasses import dataclass, replace

#: Seconds the gate stays closed: the first time, and the most it doubles to.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The state of the gate; each step gives a new one. Times are `Clock.monotonic` seconds."""

    #: Calls at once while the gate is open.
    limit: int
    #: Calls at once now, once it is not closed.
    admitted: int
    closed_until: float = 0.0
    pause: float = 0.0
    #: Why it is not open; names no number and no secret.
    trouble: str | None = None

    @classmethod
    def open(cls, limit: int) -> Gate:
        """Return an open gate for `limit` calls at once."""
        return cls(limit=limit, admitted=limit)

    def failed(self, now: float, trouble: str) -> Gate:
        """Close: the account is refused. Calls that were under way when it closed do not close it again."""
        if now < self.closed_until:
            return self
        pause = min(LONGEST_PAUSE, self.pause * 2 or FIRST_PAUSE)
        return replace(self, admitted=1, closed_until=now + pause, pause=pause, trouble=trouble)

    def succeeded(self, now: float) -> Gate:
        """Open a little further after an answer that shows the account well."""
        if self.trouble is None or now < self.closed_until:
            return self
        admitted = min(self.limit, self.admitted * 2)
        if admitted == self.limit:
            return Gate.open(self.limit)
        return replace(self, admitted=admitted)

    def room(self, in_flight: int, now: float) -> bool:
        """Whether one more call may start."""
        return now >= self.closed_until and in_flight < self.admitted
