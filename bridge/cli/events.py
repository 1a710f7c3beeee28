"""`bridge events`: prints events as they are published."""

from __future__ import annotations

import functools
import itertools
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.invocation import Invocation, config_option, json_option, pass_invocation
from bridge.cli.output import Table, write_json, write_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType

#: The columns of the table and their usual widths.
_COLUMNS = {"time": 24, "type": 27, "subject": 36, "destination_address": 16, "id": 0}


@click.group()
def events() -> None:
    """Print events."""


@events.command()
@click.option(
    "--key",
    "keys",
    multiple=True,
    default=("#",),
    metavar="PATTERN",
    help="Only types that match, such as sms.inbound.*; repeatable.",
)
@click.option("--count", type=click.IntRange(min=1), help="Stop after this number of events.")
@click.option("--full", is_flag=True, help="Show whole phone numbers.")
@json_option
@config_option
@pass_invocation
def tail(
    invocation: Invocation, *, keys: tuple[str, ...], count: int | None, full: bool, as_json: bool
) -> None:
    """Print new events as they are published. Other consumers still receive them.

    A message on the exchange that is not an event is skipped, with a line on stderr. JSON has whole events.
    """
    from bridge.app.oneshot import tail_events

    table = Table(**_COLUMNS)
    with _until_signal():
        stream = invocation.use(tail_events)(
            invocation.settings(), keys, functools.partial(write_line, err=True)
        )
        for event in itertools.islice(stream, count):
            if as_json:
                write_json(event)
            else:
                table.write({**event, "destination_address": _destination(event, full=full)})


def _destination(event: Mapping[str, Any], *, full: bool) -> object:
    from bridge.domain.events import value_of
    from bridge.domain.masks import mask_number

    number = value_of(event["data"], "destination_address")
    return mask_number(number) if isinstance(number, str) and not full else number


@contextmanager
def _until_signal() -> Iterator[None]:
    """Exit with 0 at Ctrl-C or SIGTERM inside the block."""

    def enough(_number: int, _frame: FrameType | None) -> None:
        raise click.exceptions.Exit(0)

    before = {number: signal.signal(number, enough) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
