"""Examining an installation: many checks, none of which keeps another from its answer."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

#: Seconds that a check may take.
PATIENCE = 20.0


class Level(Enum):
    """How it stands."""

    OK = "ok"
    #: It works, and may not for long.
    WARN = "warn"
    FAIL = "fail"
    #: There is nothing to check, or something else has to be right first.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check saw, and what to do about it."""

    level: Level
    seen: str
    advice: str | None = None


class Examined(NamedTuple):
    """A finding, and which check it is of."""

    check: str
    finding: Finding


def ok(seen: str) -> Finding:
    """Find all well."""
    return Finding(level=Level.OK, seen=seen)


def warn(seen: str, advice: str) -> Finding:
    """Find what may go wrong."""
    return Finding(level=Level.WARN, seen=seen, advice=advice)


def fail(seen: str, advice: str) -> Finding:
    """Find what is wrong."""
    return Finding(level=Level.FAIL, seen=seen, advice=advice)


def skipped(why: str) -> Finding:
    """Find nothing to look at."""
    return Finding(level=Level.SKIPPED, seen=why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Looks at one thing and changes nothing; what it raises is a finding, too."""

    name: str
    look: Callable[[], Iterable[Finding]]
    #: What to do where it raises.
    advice: str


def examine(checks: Sequence[Check], *, patience: float = PATIENCE) -> Iterator[Examined]:
    """Carry all out side by side, and yield what they find in their order; each has `patience` seconds."""
    looks = [_Look(check) for check in checks]
    for look in looks:
        look.thread.start()
    for look in looks:
        look.thread.join(patience)
        for finding in look.findings():
            yield Examined(look.check.name, finding)


class _Look:
    def __init__(self, check: Check) -> None:
        self.check = check
        self._found: list[Finding] = []
        self._is_over = False
        # Nobody waits for one that never ends.
        self.thread = threading.Thread(target=self._run, name=f"check {check.name}", daemon=True)

    def findings(self) -> tuple[Finding, ...]:
        # Looked at first: what is found meanwhile is told beside it.
        over = self._is_over
        return *self._found, *([] if over else [fail("no answer in time", self.check.advice)])

    def _run(self) -> None:
        try:
            self._found.extend(self.check.look())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the check found
            self._found.append(fail(str(error) or type(error).__name__, self.check.advice))
        self._is_over = True
