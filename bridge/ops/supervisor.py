"""Supervisor: runs N worker processes, restarts those that exit, and ends all of them when it stops.

Each worker slot has a number from 1 on, and a thread that waits for its process.
"""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from bridge.domain.restarts import EX_CONFIG, End, Replace, after_exit
from bridge.ops.shutdown import end_at_once
from bridge.ports.http_results import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.ops.metrics import SupervisorMetrics
    from bridge.ops.shutdown import Stopping
    from bridge.ports import Clock

#: Seconds beyond the grace period in which a process may close its connections to broker and ledger.
MARGIN = 10.0
#: Seconds in which the kernel ends a killed process.
_KILLED = 5.0
#: Seconds in which a started process has to listen, even on a busy machine; it usually takes half a second.
STARTED = 60.0

#: Exit codes of a regular stop: in order, or by a signal to the process group before the handlers were installed.
_IN_ORDER = frozenset({0, -signal.SIGTERM, -signal.SIGINT})
_HINTS = {
    0: "a signal ended this process alone",
    -signal.SIGKILL: "killed with SIGKILL, by the operator or because the system ran out of memory",
    EX_CONFIG: "see its log lines above for the error in the configuration or the ledger; all processes end",
}
_HINT = "see its log lines above for the reason"

_log = structlog.get_logger()


class SupervisedProcess(Protocol):
    """A process that was started."""

    @property
    def pid(self) -> int: ...

    def wait_listening(self, timeout: float) -> int | None: ...

    def wait(self) -> int: ...

    def end(self) -> None: ...

    def kill(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """Dependencies of a supervisor."""

    #: Starts the process of a worker slot; may raise OSError.
    start: Callable[[int], SupervisedProcess]
    stopping: Stopping
    clock: Clock
    metrics: SupervisorMetrics
    #: Seconds within which a process has to listen; otherwise it is killed and restarted.
    started: float = STARTED


class Supervisor:
    """Starts worker processes and restarts those that exit, until it is stopped."""

    def __init__(self, supervision: Supervision, number: int, running: Callable[[], None]) -> None:
        """Make a supervisor of `number` processes; `running` is called once the first of them listens."""
        self._clock = supervision.clock
        self._running = running
        self._has_listened = False
        self._lock = threading.Lock()
        self._slots = [_Slot(slot, supervision, self._listens) for slot in range(1, number + 1)]

    def start(self) -> None:
        """Start all processes."""
        for slot in self._slots:
            slot.thread.start()

    def processes(self) -> Sequence[Process]:
        """Return the state of each process."""
        return [slot.process for slot in self._slots]

    def stop(self, timeout: float) -> int:
        """Stop all processes, and kill those that are left after `timeout` seconds; return the exit code.

        Call it once `Supervision.stopping` is set.
        """
        until = self._clock.monotonic() + timeout
        for slot in self._slots:
            slot.end()
        for slot in self._slots:
            slot.thread.join(max(0.0, until - self._clock.monotonic()))
        for slot in self._slots:
            if slot.thread.is_alive():
                _log.error("process.killed", process=slot.process.number, after=timeout)
                slot.kill()
        for slot in self._slots:
            slot.thread.join(_KILLED)
        return 0 if all(slot.code in _IN_ORDER and not slot.thread.is_alive() for slot in self._slots) else 1

    def end_at_once(self) -> None:
        """Kill all processes and end this one."""
        for slot in self._slots:
            slot.kill()
        end_at_once()

    def _listens(self) -> None:
        # Not once all listen: a process that crashes at each start would keep the service from becoming ready.
        with self._lock:
            first, self._has_listened = not self._has_listened, True
        if first:
            self._running()


class _Slot:
    """A worker slot: runs one process after another, all with the same number."""

    def __init__(self, number: int, supervision: Supervision, listens: Callable[[], None]) -> None:
        self._number = number
        self._start = supervision.start
        self._stopping = supervision.stopping
        self._clock = supervision.clock
        self._metrics = supervision.metrics
        self._started = supervision.started
        self._listens = listens
        self._child: SupervisedProcess | None = None
        self.process = Process(number, None, "starting")
        #: The exit code of the process that was stopped.
        self.code = 0
        self.thread = threading.Thread(target=self._watch, name=f"process-{number}", daemon=True)

    def end(self) -> None:
        """Ask the process to stop, if there is one."""
        child = self._child  # a copy, because the slot's thread may set it to None
        if child is not None:
            child.end()

    def kill(self) -> None:
        """Kill the process, if there is one."""
        child = self._child
        if child is not None:
            child.kill()

    def _watch(self) -> None:
        try:
            self._run()
        except Exception:  # noqa: BLE001 - an unwatched process is worse than a restart of all
            _log.exception("supervisor.crashed", process=self._number)
            self._stopping.crash()

    def _run(self) -> None:
        deaths = 0
        while not self._stopping.event.is_set():
            began = self._clock.monotonic()
            code, hint = self._run_once()
            lived = self._clock.monotonic() - began
            line = _log.bind(process=self._number, lived=round(lived, 1), hint=hint, **_end_of(code))
            if self._stopping.event.is_set():
                self.code = code
                if code not in _IN_ORDER:
                    line.error("process.exited")
                return
            match after_exit(code, lived=lived, deaths=deaths):
                case End(code=ends_all):
                    line.error("process.exited")
                    self._stopping.crash(ends_all)
                case Replace(pause=pause, deaths=deaths):
                    line.error("process.exited", retry_in=pause)
                    self._metrics.restarts.inc()
                    self.process = Process(self._number, None, f"ended ({hint}); starts again in {pause:g} s")
                    self._stopping.event.wait(pause)

    def _run_once(self) -> tuple[int, str]:
        """Start a process and wait for its end; return its exit code and a hint for the operator."""
        self.process = Process(self._number, None, "starting")
        try:
            child = self._start(self._number)
        except OSError as e:
            return os.EX_OSERR, f"can't be started: {e}"
        self._child = child
        # `end` either finds this child, or has run before and has set `stopping`.
        if self._stopping.event.is_set():
            child.end()
        _log.info("process.started", process=self._number, pid=child.pid)
        code, hint = self._wait_for(child)
        self._child = None
        return code, hint

    def _wait_for(self, child: SupervisedProcess) -> tuple[int, str]:
        """Wait until the process listens, then until it ends; return its exit code and a hint for the operator."""
        try:
            port = child.wait_listening(self._started)
        except TimeoutError:
            child.kill()
            return child.wait(), f"did not listen within {self._started:g} s, and was killed"
        if port is None:
            code = child.wait()
        else:
            self.process = Process(self._number, port, "running")
            with self._metrics.running.track_inprogress():
                self._listens()
                code = child.wait()
        return code, _HINTS.get(code, _HINT)


def _end_of(code: int) -> dict[str, int | str]:
    """Return the log fields of an exit code: a negative one is a signal, by name if it has one."""
    if code >= 0:
        return {"code": code}
    return {"signal": next((one.name for one in signal.Signals if one == -code), str(-code))}
