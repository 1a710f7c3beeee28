"""Exit codes, after sysexits.h, and the errors that lead to them."""

from __future__ import annotations

import errno
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.output import survive_any_text
from bridge.domain.printable import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.settings import SettingProblem


class Exit(IntEnum):
    """The exit codes of all commands."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 69
    LATER = 75
    CONFIG = 78


class Ended(click.ClickException):
    """Ends the command with an error, which has priority 3 in the journal."""

    def show(self, file: Any = None) -> None:
        """Write the error to stderr, with its priority where that is systemd's journal."""
        # Not at the top: few commands fail.
        from bridge.ops.journal import is_journal, with_priority

        said = self.said()
        click.echo(with_priority("error", said) if is_journal(sys.stderr) else said, file=file, err=True)

    def said(self) -> str:
        """Return the text of the error."""
        return f"Error: {self.format_message()}"

    def format_message(self) -> str:
        """Return the line as a terminal can show it: it may quote a broker, a provider or a database."""
        return visible(self.message)


class Unavailable(Ended):
    """Ends the command because a service that it needs is not reachable."""

    exit_code = Exit.UNAVAILABLE


class Failed(Ended):
    """Ends the command because its request was refused."""

    exit_code = Exit.FAILED


class Unusable(Ended):
    """Ends the command because the configured ledger can't be used by this bridge."""

    exit_code = Exit.CONFIG


class BadConfiguration(Ended):
    """Ends the command with every mistake of the configuration, one per line."""

    exit_code = Exit.CONFIG

    def __init__(self, problems: Iterable[SettingProblem]) -> None:
        self._lines = [_line(problem) for problem in problems]
        super().__init__("\n".join(self._lines))

    def said(self) -> str:
        """Return the mistakes, one per line, so that a program can parse them."""
        return "\n".join(map(visible, self._lines))


class ExitCodes(click.Group):
    """A group that turns what its commands raise into exit codes."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command line; see `click.Command.main`."""
        survive_any_text()
        return super().main(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; `_failure` maps its errors to exit codes."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            failure = _failure(error)
            if failure is None:
                raise
            raise failure from error


def _failure(error: Exception) -> click.ClickException | None:
    # Not at the top: few commands fail, and these imports are slow.
    from bridge.domain.errors import BridgeError
    from bridge.ports import LedgerUnavailable, LedgerUnusable
    from bridge.ports.provider_errors import CpaasError, Unreachable
    from bridge.settings import SettingsError

    if isinstance(error, SettingsError):
        return BadConfiguration(error.problems)
    if isinstance(error, BrokenPipeError):
        # The reader has closed the pipe: click ends the command without a message.
        return None
    if isinstance(error, LedgerUnusable):
        return Unusable(str(error))
    if isinstance(error, LedgerUnavailable):
        return Unavailable(f"the ledger (ledger.url) can't be used: {error}")
    if isinstance(error, Unreachable):
        return Unavailable(f"the provider's API (cpaas.base_url) can't be used: {error}")
    if isinstance(error, ConnectionError | TimeoutError):
        return Unavailable(str(error))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return Failed(f"can't write the output: {error.strerror}")
    return Failed(str(error)) if isinstance(error, CpaasError | BridgeError) else None


def _line(problem: SettingProblem) -> str:
    origin = f" (from {problem.origin})" if problem.origin and problem.origin != problem.path else ""
    return f"{problem.path}: {problem.reason}{origin}"
