"""Progress bar of long commands: on stderr if it is a terminal, never on stdout."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.ports import Progress


@contextmanager
def progress(what: str, *, prints: bool = False) -> Iterator[Progress]:
    """Lend a function that shows the progress of `what`. No bar is shown for a command that `prints` to a terminal."""
    from bridge.ports import unwatched

    if not sys.stderr.isatty() or (prints and sys.stdout.isatty()):
        yield unwatched
        return
    # Not at the top: loading it takes longer than most commands.
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TextColumn("{task.fields[number]}"),
        bars.TimeElapsedColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(what, total=None, number="")

        def show(done: int, total: int | None) -> None:
            bar.update(
                task, completed=done, total=total, number=f"{done}" if total is None else f"{done}/{total}"
            )

        yield show
