"""`bridge events`: what the bridge publishes, as it does."""

from __future__ import annotations

import itertools
import json
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from bridge.cli.invocation import Invocation, config_option, json_option, pass_invocation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@click.group()
def events() -> None:
    """Look at events."""


@events.command()
@click.option(
    "--key",
    "keys",
    multiple=True,
    default=("#",),
    metavar="PATTERN",
    help="Only types that match, such as sms.inbound.*; repeatable.",
)
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many.")
@json_option
@config_option
@pass_invocation
def tail(invocation: Invocation, *, keys: tuple[str, ...], count: int | None, as_json: bool) -> None:
    """Print events as they are published, from now on. Takes nothing away from other consumers."""
    with _until_told_to_stop():
        stream = invocation.wiring.tail_events(invocation.settings(), keys)
        for event in itertools.islice(stream, count):
            if as_json:
                click.echo(json.dumps(event, ensure_ascii=False))
            else:
                click.echo(f"{event['time']} {event['type']} {event.get('subject', '-')} {event['id']}")


@contextmanager
def _until_told_to_stop() -> Iterator[None]:
    """Take Ctrl-C and SIGTERM inside the block for having seen enough: exit 0."""

    def enough(_number: int, _frame: FrameType | None) -> None:
        raise click.exceptions.Exit(0)

    before = {number: signal.signal(number, enough) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
