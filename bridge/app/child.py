"""A worker process under a supervisor: `python -m bridge.app.child NUMBER`, with its settings on its lifeline."""

from __future__ import annotations

import sys
import threading

import structlog

from bridge.adapters.children import Lifeline
from bridge.app.log import configure_log
from bridge.app.worker import run_process
from bridge.ops.shutdown import Stopping, end_at_once
from bridge.ops.supervisor import MARGIN
from bridge.settings.passing import unpack


def main(number: int) -> int:
    """Run a worker until the supervisor stops it or is gone; returns the exit code."""
    lifeline = Lifeline()
    line = lifeline.line()
    if line is None:
        return 0
    settings = unpack(line)
    configure_log(settings, process=number)
    stopping = Stopping()
    stopping.install()
    patience = settings.worker.grace_period + MARGIN
    threading.Thread(target=_end_with, args=(lifeline, stopping, patience), daemon=True).start()
    return run_process(settings, stopping, lifeline.tell)


def _end_with(lifeline: Lifeline, stopping: Stopping, patience: float) -> None:
    """End this process when its supervisor says so or is gone: in order, or after `patience` seconds as it is."""
    if not lifeline.wait_end():
        structlog.get_logger().warning("supervisor.lost")
    stopping.event.set()
    threading.Event().wait(patience)
    end_at_once()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
