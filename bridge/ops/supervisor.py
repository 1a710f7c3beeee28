"""Keeps worker processes running: one that ends by itself is replaced, and none outlives the whole.

Each has a seat, a number from 1 on, and a thread that does nothing but wait for it.
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

#: Seconds beyond the grace period that a process may take to let go of broker and ledger.
MARGIN = 10.0
#: Seconds in which the kernel has ended what was killed.
_KILLED = 5.0
#: Seconds from its start in which a process listens, whatever else the machine does; it takes about half of one.
STARTED = 60.0

#: How a process may end when all are told to: in order, or by a signal to them all before it had begun to take any.
_IN_ORDER = frozenset({0, -signal.SIGTERM, -signal.SIGINT})
_HINTS = {
    0: "somebody told this one process to end",
    -signal.SIGKILL: "killed by somebody, or by the system for want of memory",
    EX_CONFIG: "its lines above say what is wrong with configuration or ledger; all end",
}
_HINT = "its lines above say why"

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
    """How processes are started and watched."""

    #: Starts the process of a seat; may raise OSError.
    start: Callable[[int], SupervisedProcess]
    stopping: Stopping
    clock: Clock
    metrics: SupervisorMetrics
    #: Seconds within which a process has to listen; else it is killed, and replaced as any other.
    started: float = STARTED


class Supervisor:
    """Starts so many processes, and starts again what ends, until it is stopped."""

    def __init__(self, supervision: Supervision, number: int, running: Callable[[], None]) -> None:
        """Make a supervisor of `number` processes; `running` is called once any listens."""
        self._clock = supervision.clock
        self._running = running
        self._heard = False
        self._lock = threading.Lock()
        self._seats = [_Slot(slot, supervision, self._listens) for slot in range(1, number + 1)]

    def start(self) -> None:
        """Begin with all of them at once."""
        for slot in self._seats:
            slot.thread.start()

    def processes(self) -> Sequence[Process]:
        """Return what is known of each."""
        return [slot.process for slot in self._seats]

    def stop(self, timeout: float) -> int:
        """End all, within `timeout` seconds in order and else at once; return the exit code.

        `Supervision.stopping` is set then.
        """
        until = self._clock.monotonic() + timeout
        for slot in self._seats:
            slot.end()
        for slot in self._seats:
            slot.thread.join(max(0.0, until - self._clock.monotonic()))
        for slot in self._seats:
            if slot.thread.is_alive():
                _log.error("process.killed", process=slot.process.number, after=timeout)
                slot.kill()
        for slot in self._seats:
            slot.thread.join(_KILLED)
        return 0 if all(slot.code in _IN_ORDER and not slot.thread.is_alive() for slot in self._seats) else 1

    def end_at_once(self) -> None:
        """End all, and this process, as they are."""
        for slot in self._seats:
            slot.kill()
        end_at_once()

    def _listens(self) -> None:
        # Not the last: one that dies at every start would have a service manager end those that work.
        with self._lock:
            first, self._heard = not self._heard, True
        if first:
            self._running()


class _Slot:
    """One process after the other, all with one number."""

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
        #: How the process ended that was told to.
        self.code = 0
        self.thread = threading.Thread(target=self._watch, name=f"process-{number}", daemon=True)

    def end(self) -> None:
        """Tell the process to end in order, if there is one."""
        child = self._child  # which its own thread may take away
        if child is not None:
            child.end()

    def kill(self) -> None:
        """End the process at once, if there is one."""
        child = self._child
        if child is not None:
            child.kill()

    def _watch(self) -> None:
        try:
            self._run()
        except Exception:  # noqa: BLE001 - a process that nobody watches is worse than a restart of all
            _log.exception("supervisor.crashed", process=self._number)
            self._stopping.crash()

    def _run(self) -> None:
        deaths = 0
        while not self._stopping.event.is_set():
            began = self._clock.monotonic()
            code, hint = self._sit()
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

    def _sit(self) -> tuple[int, str]:
        """Start a process and wait for its end; return its exit code, and what may be behind it."""
        self.process = Process(self._number, None, "starting")
        try:
            child = self._start(self._number)
        except OSError as e:
            return os.EX_OSERR, f"can't be started: {e}"
        self._child = child
        # Who tells all to end either finds this one, or was before this.
        if self._stopping.event.is_set():
            child.end()
        _log.info("process.started", process=self._number, pid=child.pid)
        code, hint = self._attend(child)
        self._child = None
        return code, hint

    def _attend(self, child: SupervisedProcess) -> tuple[int, str]:
        """Go with a process until it ends; return its exit code, and what may be behind it."""
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
    """Return an exit code as the log has it: negative ones are signals, of which some have no name."""
    if code >= 0:
        return {"code": code}
    return {"signal": next((one.name for one in signal.Signals if one == -code), str(-code))}
