"""A worker process under a supervisor: `python -m bridge.app.child NUMBER`, with its settings on its control pipe."""

from __future__ import annotations

import sys
import threading

import structlog

from bridge.adapters.children import ControlPipe
from bridge.app.log import configure_log
from bridge.app.worker import run_process
from bridge.ops.shutdown import Stopping, end_at_once
from bridge.ops.supervisor import MARGIN
from bridge.settings.transfer import unpack


def main(number: int) -> int:
    """Run a worker until the supervisor stops it or exits; returns the exit code."""
    control_pipe = ControlPipe()
    line = control_pipe.line()
    if line is None:
        return 0
    settings = unpack(line)
    configure_log(settings, process=number)
    stopping = Stopping()
    stopping.install()
    timeout = settings.worker.grace_period + MARGIN
    threading.Thread(target=_end_with, args=(control_pipe, stopping, timeout), daemon=True).start()
    return run_process(settings, stopping, control_pipe.report)


def _end_with(control_pipe: ControlPipe, stopping: Stopping, timeout: float) -> None:
    """Stop this process when its supervisor asks for it or has exited, and kill it after `timeout` seconds."""
    if not control_pipe.wait_end():
        structlog.get_logger().warning("supervisor.lost")
    stopping.event.set()
    threading.Event().wait(timeout)
    end_at_once()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
