"""How the spool is: what it holds, why it takes nothing now, and what metrics and the log show of that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import structlog

from bridge.ports import SPOOL_OVERHEAD, SpoolContents

if TYPE_CHECKING:
    from bridge.domain.events import Event
    from bridge.ops.metrics import Metrics
    from bridge.ports import Clock

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much a spool takes."""

    #: Bytes, as `SpoolContents` counts them.
    max_bytes: int
    #: Seconds; while the oldest event is older, nothing more is taken. Nothing is ever dropped.
    max_age: float


class SpoolProblem(NamedTuple):
    """Why the spool takes nothing now."""

    #: A word for the log: `opening`, `closed`, `failing`, `full` or `old`.
    kind: str
    detail: str


class SpoolStatus:
    """Kept by the spool's thread; `contents` and `problem` may be read from anywhere."""

    def __init__(self, bounds: Bounds, *, clock: Clock, metrics: Metrics) -> None:
        self.contents = SpoolContents(0, 0, None)
        self.problem: SpoolProblem | None = SpoolProblem("opening", "it is being opened")
        #: Why the spool can not be opened or written to.
        self.failing: str | None = None
        self._bounds = bounds
        self._clock = clock
        self._metrics = metrics
        #: The size at which an event found no room.
        self._full_at: int | None = None

    def capacity_for(self, events: list[Event], contents: SpoolContents) -> list[bool]:
        """Return for each event whether the bounds allow it to be kept beside those before it."""
        self._full_at = None
        bytes_ = contents.bytes
        too_old = self._age(contents) > self._bounds.max_age
        has_capacity: list[bool] = []
        for event in events:
            size = len(event.body) + SPOOL_OVERHEAD
            fits = bytes_ + size <= self._bounds.max_bytes
            if not (fits or too_old):
                self._full_at = bytes_
            has_capacity.append(fits and not too_old)
            bytes_ += size if has_capacity[-1] else 0
        return has_capacity

    def kept(self, number: int) -> None:
        """Count events that were kept."""
        self._metrics.spooled.inc(number)

    def changed(self, before: SpoolContents, after: SpoolContents, *, drained: int) -> None:
        """Count the events that the broker has; write a line where the spool begins to fill, or is empty again."""
        self._metrics.drained.inc(drained)
        if after.events and not before.events:
            _log.warning("spool.filling", hint="the broker does not confirm; what comes in is kept")
        elif before.events and not after.events:
            _log.info("spool.drained")

    def report(self, contents: SpoolContents | None) -> None:
        """Show what it holds, None where it is not open, and whether it takes events."""
        if contents is not None:
            damaged = contents.damaged - self.contents.damaged
            if damaged:
                self._metrics.damaged.inc(damaged)
            self.contents = contents
        self._metrics.spool_events.set(self.contents.events)
        self._metrics.spool_bytes.set(self.contents.bytes)
        self._metrics.spool_age.set(self._age(self.contents))
        self._metrics.quarantined.set(self.contents.quarantined)
        self._show(self._judged(self.contents, is_open=contents is not None))

    def _judged(self, contents: SpoolContents, *, is_open: bool) -> SpoolProblem | None:
        if self._full_at is not None and (contents.bytes < self._full_at or not contents.events):
            self._full_at = None
        if self.failing is not None:
            return SpoolProblem("failing" if is_open else "closed", self.failing)
        if self._age(contents) > self._bounds.max_age:
            return SpoolProblem("old", f"its oldest event is older than {self._bounds.max_age:g} s")
        if self._full_at is not None:
            return SpoolProblem("full", f"{contents.bytes} of {self._bounds.max_bytes} bytes are taken")
        return None

    def _show(self, problem: SpoolProblem | None) -> None:
        before, self.problem = self.problem, problem
        self._metrics.spool_accepting.set(problem is None)
        if problem is None:
            if before is not None:
                _log.info("spool.accepting", events=self.contents.events)
        elif before is None or before.kind != problem.kind:
            _log.error(
                "spool.refusing", kind=problem.kind, reason=problem.detail, hint="without the broker: 503"
            )

    def _age(self, contents: SpoolContents) -> float:
        return 0.0 if contents.oldest_at is None else max(0.0, self._clock.now() - contents.oldest_at)
