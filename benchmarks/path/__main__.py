"""Print the path of a command and of a webhook: `python -m benchmarks.path --help`, or `make path`."""

from __future__ import annotations

import pathlib
import re
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

import click

from benchmarks.path.runs import Traced
from tests.harness import documents

if TYPE_CHECKING:
    from benchmarks.path.calls import Path

ARCHITECTURE = pathlib.Path(__file__).parents[2] / "docs" / "internals" / "architecture.md"
#: In the names of threads: the program, the process, the number in a pool.
NAMELESS = re.compile(r"^sms-bridge | \S+:\d+$|-\d+$")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--runs", default=40, show_default=True, help="Commands and webhooks that are traced.")
@click.option("--files/--steps", default=False, help="Print the files with their stays instead of the steps.")
@click.option(
    "--write/--no-write", default=False, help="Write the steps to docs/internals/architecture.md as well."
)
def main(*, runs: int, files: bool, write: bool) -> None:
    """Trace commands and webhooks and print the usual path of each, with its counts at the end."""
    with Traced() as traced:
        usual = {kind: most_usual(paths) for kind, paths in traced.paths(runs).items()}
    shown = [f"{kind}\n\n{_files(path) if files else _steps(path)}" for kind, path in usual.items()]
    counts = [
        f"{kind}: {path.calls} calls, {len(path.files)} files, {path.returns} returns"
        for kind, path in usual.items()
    ]
    text = "\n".join([*shown, *counts])
    click.echo(text)
    if write and not files:
        documents.write(ARCHITECTURE, "path", f"```text\n{text}\n```\n")


def most_usual(paths: list[Path]) -> Path:
    """Return the path that was taken most often, the shortest of several.

    In others a periodic thread comes in between, or two turns of a loop fall together.
    """
    often = Counter(_figures(path) for path in paths)
    return min(paths, key=lambda path: (-often[_figures(path)], _figures(path)))


def _figures(path: Path) -> tuple[int, int, int]:
    return path.calls, len(path.files), path.returns


def _steps(path: Path) -> str:
    rows = []
    for number, stay in enumerate(path.stays, 1):
        functions = [(name, len(list(calls))) for name, calls in groupby(stay.functions)]
        shown = ", ".join(name if calls == 1 else f"{name} ({calls})" for name, calls in functions)
        rows.append((str(number), NAMELESS.sub("", stay.thread), stay.file, shown))
    return _columns([("step", "thread", "file", "functions"), *rows])


def _files(path: Path) -> str:
    return _columns([("stays", "file"), *((str(stays), file) for file, stays in path.files.most_common())])


def _columns(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
