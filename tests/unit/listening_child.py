"""A child process that reports its port and waits for its end: `python -m tests.unit.listening_child CODE`."""

from __future__ import annotations

import os
import sys

from bridge.adapters.children import MANAGERS_OWN, ControlPipe


def main(how: str) -> int:
    """Return the requested exit code, or the number of variables of a service manager."""
    control_pipe = ControlPipe()
    port = 100 * int(control_pipe.line() or 0)
    if how != "silent":
        control_pipe.report(port)
    if not control_pipe.wait_end():
        return 9
    return len(MANAGERS_OWN & os.environ.keys()) if how == "environment" else int(how)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
