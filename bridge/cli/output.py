"""Output of all commands to stdout and stderr: each text is made printable and fits the stream's encoding.

A command prints after it has acted. The text of an outcome must not turn a sent SMS into a traceback.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

import click

from bridge.domain.printable import to_json, visible, wants_colour

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def survive_any_text() -> None:
    """Make stdout and stderr escape characters that their encoding lacks, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write_line(text: str, *, err: bool = False) -> None:
    """Print `text` on one line of stdout, or with `err` of stderr."""
    _echo(visible(text), err=err)


def write_json(value: object, *, indent: int | None = None, end: bool = True) -> None:
    """Print `value` as JSON in ASCII; without `end` the line goes on."""
    _echo(to_json(value, indent=indent), end=end)


def write_program(source: str) -> None:
    """Print a program unchanged, with its tabs and line ends."""
    _echo(source)


def write_styled(head: str, rest: str, *, colour: str) -> None:
    """Print a line whose `head` is coloured as `bridge.domain.printable.wants_colour` decides."""
    is_coloured = wants_colour(os.environ, is_terminal=sys.stdout.isatty())
    _echo(click.style(visible(head), fg=colour) + visible(rest), color=is_coloured)


def write_array(rows: Iterable[object]) -> None:
    """Print a JSON array, each item as it arrives: there may be more than fit into memory."""
    opening = "["
    for row in rows:
        _echo(opening, end=False)
        write_json(row, end=False)
        opening = ",\n "
    _echo("[]" if opening == "[" else "]")


class Table:
    """Table with fixed column widths. Each row is printed as it arrives; a longer value shifts the rest of its row."""

    def __init__(self, **widths: int) -> None:
        """`widths` has each column's key in the rows, in the order of the columns, and its usual width in letters."""
        self._widths = widths
        self._has_header = False

    def write(self, row: Mapping[str, object]) -> None:
        """Print one row: a missing value or None as a dash, several values joined by commas."""
        if not self._has_header:
            self._has_header = True
            self._write([name.removesuffix("_address").upper() for name in self._widths])
        self._write([_cell(row.get(name)) for name in self._widths])

    def _write(self, cells: Sequence[str]) -> None:
        padded = (cell.ljust(width) for cell, width in zip(cells, self._widths.values(), strict=True))
        write_line(" ".join(padded).rstrip())


def _cell(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_cell, value)) or "-"
    return "-" if value in (None, "") else visible(str(value))


def write_rows(rows: Sequence[Mapping[str, object]], widths: Mapping[str, int], *, as_json: bool) -> None:
    """Print all rows: as one JSON array, or as a table with the columns of `widths`."""
    if as_json:
        write_json(list(rows))
        return
    table = Table(**widths)
    for row in rows:
        table.write(row)


def _echo(text: str, *, err: bool = False, end: bool = True, color: bool | None = None) -> None:
    # The stream is passed explicitly: click replaces an ASCII stream with its own UTF-8 stream.
    click.echo(text, file=sys.stderr if err else sys.stdout, nl=end, color=color)
