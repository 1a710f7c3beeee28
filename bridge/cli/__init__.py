"""The command line: arguments and exit codes of each command. `bridge.app` has the use cases.

Commands import slow modules only when they need them, so that `bridge --help` answers at once.
"""

from bridge.cli.requirements import require_server

require_server()

from bridge.cli.main import main  # noqa: E402 - it needs the packages that were checked above

__all__ = ["main"]
