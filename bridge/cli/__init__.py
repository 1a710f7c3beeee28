"""The command line: what each command takes and what its exit code means. What it does stands in `bridge.bootstrap`.

Nothing heavy is imported before a command needs it, so that `bridge --help` answers at once.
"""

from bridge.cli.main import main

__all__ = ["main"]
