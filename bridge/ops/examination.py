"""Examining an installation: many checks, none of which keeps another from its answer."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

#: Seconds that a check may take.
TIMEOUT = 20.0


class Level(Enum):
    """How it stands."""

    OK = "ok"
    #: It works, and may not for long.
    WARN = "warn"
    FAIL = "fail"
    #: There is nothing to check, or something else has to be right first.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What a check saw, and what to do about it."""

    level: Level
    seen: str
    advice: str | None = None


class Examined(NamedTuple):
    """A finding, and which check it is of."""

    check: str
    check_result: CheckResult


def ok(seen: str) -> CheckResult:
    """Find all well."""
    return CheckResult(level=Level.OK, seen=seen)


def warn(seen: str, advice: str) -> CheckResult:
    """Find what may go wrong."""
    return CheckResult(level=Level.WARN, seen=seen, advice=advice)


def fail(seen: str, advice: str) -> CheckResult:
    """Find what is wrong."""
    return CheckResult(level=Level.FAIL, seen=seen, advice=advice)


def skipped(why: str) -> CheckResult:
    """Find nothing to look at."""
    return CheckResult(level=Level.SKIPPED, seen=why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Looks at one thing and changes nothing; what it raises is a finding, too."""

    name: str
    check: Callable[[], Iterable[CheckResult]]
    #: What to do where it raises.
    advice: str


def examine(checks: Sequence[Check], *, timeout: float = TIMEOUT) -> Iterator[Examined]:
    """Carry all out side by side, and yield what they find in their order; each has `timeout` seconds."""
    lookups = [_Look(check) for check in checks]
    for check in lookups:
        check.thread.start()
    for check in lookups:
        check.thread.join(timeout)
        for check_result in check.check_results():
            yield Examined(check.check.name, check_result)


class _Look:
    def __init__(self, check: Check) -> None:
        self.check = check
        self._found: list[CheckResult] = []
        self._is_over = False
        # Nobody waits for one that never ends.
        self.thread = threading.Thread(target=self._run, name=f"check {check.name}", daemon=True)

    def check_results(self) -> tuple[CheckResult, ...]:
        # Looked at first: what is found meanwhile is told beside it.
        over = self._is_over
        return *self._found, *([] if over else [fail("no answer in time", self.check.advice)])

    def _run(self) -> None:
        try:
            self._found.extend(self.check.check())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the check found
            self._found.append(fail(str(error) or type(error).__name__, self.check.advice))
        self._is_over = True
