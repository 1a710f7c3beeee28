"""`bridge`, traced: `python -m benchmarks.path.traced ARGUMENTS` writes recordings to the file in `TRACE`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bridge
from benchmarks.path.tracer import Tracer
from benchmarks.path.window import Window

#: The environment variable that names the file.
TRACE = "PATH_TRACE"


def main() -> None:
    """Run `bridge`."""
    tracer = Tracer(Path(bridge.__file__).parent)
    Window(tracer, Path(os.environ[TRACE])).install()
    # Before the program starts its threads.
    tracer.install()
    from bridge.cli import main as run

    run(sys.argv[1:], prog_name="bridge")


if __name__ == "__main__":
    main()
