"""Diagnostics: runs checks side by side, so that a slow check does not delay the others."""

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
    """Result level of a check."""

    OK = "ok"
    #: It works now and may fail later.
    WARN = "warn"
    FAIL = "fail"
    #: There is nothing to check, or another check has to pass first.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The result of a check, with advice for the operator."""

    level: Level
    seen: str
    advice: str | None = None


class CheckReport(NamedTuple):
    """A result with the name of its check."""

    check: str
    check_result: CheckResult


def ok(seen: str) -> CheckResult:
    """Return a passed check."""
    return CheckResult(level=Level.OK, seen=seen)


def warn(seen: str, advice: str) -> CheckResult:
    """Return a warning."""
    return CheckResult(level=Level.WARN, seen=seen, advice=advice)


def fail(seen: str, advice: str) -> CheckResult:
    """Return a failed check."""
    return CheckResult(level=Level.FAIL, seen=seen, advice=advice)


def skipped(why: str) -> CheckResult:
    """Return a skipped check."""
    return CheckResult(level=Level.SKIPPED, seen=why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check, which changes nothing. An exception that it raises is a failed result."""

    name: str
    check: Callable[[], Iterable[CheckResult]]
    #: Advice for the operator if the check raises.
    advice: str


def examine(checks: Sequence[Check], *, timeout: float = TIMEOUT) -> Iterator[CheckReport]:
    """Run all checks side by side and yield their results in the order of `checks`; each has `timeout` seconds."""
    running = [_RunningCheck(check) for check in checks]
    for run in running:
        run.thread.start()
    for run in running:
        run.thread.join(timeout)
        for result in run.results():
            yield CheckReport(run.check.name, result)


class _RunningCheck:
    def __init__(self, check: Check) -> None:
        self.check = check
        self._found: list[CheckResult] = []
        self._is_over = False
        # A daemon: the process does not wait for a check that never ends.
        self.thread = threading.Thread(target=self._run, name=f"check {check.name}", daemon=True)

    def results(self) -> tuple[CheckResult, ...]:
        # Read first: a result that arrives in between is then reported in addition.
        over = self._is_over
        return *self._found, *([] if over else [fail("no answer in time", self.check.advice)])

    def _run(self) -> None:
        try:
            self._found.extend(self.check.check())
        except Exception as error:  # noqa: BLE001 - any error is the result of the check
            self._found.append(fail(str(error) or type(error).__name__, self.check.advice))
        self._is_over = True
