"""The command line: what each command takes and what its exit code means. What it does stands in `bridge.app`.

Nothing heavy is imported before a command needs it, so that `bridge --help` answers at once.
"""

from bridge.cli.requirements import require_server

require_server()

from bridge.cli.main import main  # noqa: E402 - it needs the packages that were asked for

__all__ = ["main"]
