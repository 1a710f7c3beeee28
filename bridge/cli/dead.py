"""`bridge dead`: lists, replays and deletes dead letters."""

from __future__ import annotations

import sys
from functools import reduce
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.dead_view import content_of, meaning_of, row_of, write_letters
from bridge.cli.exits import Exit, Failed
from bridge.cli.invocation import Invocation, config_option, json_option, pass_invocation
from bridge.cli.moments import moment
from bridge.cli.output import write_json, write_line
from bridge.cli.progress import progress
from bridge.domain.printable import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bridge.domain.dead_letters import DeadLetter, DeadLetterFilter
    from bridge.ports import Progress
    from bridge.settings import Settings

#: The outcomes that leave a dead letter, and `bridge.domain.dead_letters.BROKER`.
_OUTCOMES = ("invalid", "rejected", "failed", "unknown", "expired", "broker")


@click.group()
def dead() -> None:
    """List, replay or delete dead letters."""


_WHICH: tuple[Callable[[Any], Any], ...] = (
    click.option("--outcome", "outcomes", multiple=True, type=click.Choice(_OUTCOMES), help="Repeatable."),
    click.option(
        "--reason",
        "reasons",
        multiple=True,
        metavar="WORD",
        help="Only reasons that contain WORD; repeatable.",
    ),
    click.option(
        "--sender",
        "senders",
        multiple=True,
        metavar="ADDRESS",
        help="Only this sender, or `default`; repeatable.",
    ),
    click.option(
        "--since",
        callback=moment,
        metavar="TIME",
        help="Dead-lettered at or after a time, or 15m, 2h, 7d ago.",
    ),
    click.option("--before", callback=moment, metavar="TIME", help="Dead-lettered before that time."),
    click.option(
        "--id", "ids", multiple=True, metavar="ID", help="The id of the command or of the event; repeatable."
    ),
    click.option(
        "--limit", type=click.IntRange(min=1), help="The maximum number, from the head of the queue."
    ),
)


def _which(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select dead letters."""
    return reduce(lambda made, option: option(made), reversed(_WHICH), command)


_event_ids = click.argument("event_ids", metavar="[EVENT_ID]...", nargs=-1)
_yes = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
_all = click.option("--all", "everything", is_flag=True, help="All dead letters.")


@dead.command("list")
@_which
@click.option("--full", is_flag=True, help="Show whole phone numbers.")
@json_option
@config_option
@pass_invocation
def list_(invocation: Invocation, /, *, full: bool, as_json: bool, **which: Any) -> None:
    """Print dead letters; none are removed.

    Their order on the queue may change. Other consumers do not see them while they are read.
    """
    from bridge.app.dead import dead_letters

    settings = invocation.settings()
    letters = invocation.use(dead_letters)(settings, _wanted(settings, **which))
    write_letters(letters, as_json=as_json, full=full)


@dead.command()
@click.argument("event_id", metavar="EVENT_ID")
@click.option("--full", is_flag=True, help="Include the text, the phone numbers and all properties.")
@json_option
@config_option
@pass_invocation
def show(invocation: Invocation, event_id: str, *, full: bool, as_json: bool) -> None:
    """Print one dead letter, by the id of its event or of its command."""
    from bridge.app.dead import dead_letters

    settings = invocation.settings()
    found = [
        {**row_of(letter, full=full), "meaning": meaning_of(letter), **content_of(letter, full=full)}
        for letter in invocation.use(dead_letters)(settings, _wanted(settings, ids=(event_id,)))
    ]
    if not found:
        raise Failed(f"no dead letter has the id {event_id}")
    if as_json:
        write_json(found)
        return
    for letter in found:
        for name, value in letter.items():
            write_line(f"{name:<22} {value if isinstance(value, str) else to_json(value)}")


@dead.command()
@_event_ids
@_which
@click.option(
    "--resend",
    is_flag=True,
    help="Also resend `unknown` messages if the provider's history does not show them.",
)
@_all
@click.option("--dry-run", is_flag=True, help="Only print the selection.")
@_yes
@json_option
@config_option
@pass_invocation
def replay(
    invocation: Invocation,
    /,
    event_ids: tuple[str, ...],
    *,
    resend: bool,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **which: Any,
) -> int:
    """Send dead letters back to the command queue: those with the given ids, or those that the options select.

    A failed, expired or rejected message is sent again; an unknown one is looked up first. A message that was sent in
    the meantime is not sent again. A dead letter is removed once the broker has confirmed its command.
    """
    from bridge.app.dead import dead_letters, replay_dead

    settings = invocation.settings()
    wanted = _said(settings, event_ids, everything=everything, **which)
    if not dry_run and not yes and sys.stdin.isatty():
        wanted = _asked(invocation, settings, wanted, "Send back")
    letters = (
        invocation.use(dead_letters)(settings, wanted)
        if dry_run
        else invocation.use(replay_dead)(settings, wanted, resend=resend)
    )
    return _done(letters, wanted, "would be sent back" if dry_run else "sent back", as_json=as_json)


@dead.command("purge")
@_event_ids
@_which
@_all
@click.option("--dry-run", is_flag=True, help="Only print the selection.")
@_yes
@json_option
@config_option
@pass_invocation
def delete(
    invocation: Invocation,
    /,
    event_ids: tuple[str, ...],
    *,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **which: Any,
) -> int:
    """Delete dead letters: those with the given ids, or those that the options select."""
    from bridge.app.dead import dead_letters, delete_dead

    settings = invocation.settings()
    wanted = _said(settings, event_ids, everything=everything, **which)
    if not dry_run and not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("cannot ask without a terminal: give --yes")
        wanted = _asked(invocation, settings, wanted, "Delete")
    letters = (
        invocation.use(dead_letters)(settings, wanted)
        if dry_run
        else invocation.use(delete_dead)(settings, wanted)
    )
    return _done(letters, wanted, "would be deleted" if dry_run else "deleted", as_json=as_json)


def _said(
    settings: Settings, event_ids: tuple[str, ...], *, everything: bool, **which: Any
) -> DeadLetterFilter:
    """Return the selection. All dead letters need `--all`: one forgotten option must not select the whole queue.

    Raises:
        click.UsageError: nothing is selected.

    """
    wanted = _wanted(settings, **{**which, "ids": which["ids"] + event_ids})
    if wanted.everything and not everything:
        raise click.UsageError("select dead letters, or use --all")
    return wanted


def _wanted(
    settings: Settings,
    *,
    outcomes: tuple[str, ...] = (),
    senders: tuple[str, ...] = (),
    **rest: Any,
) -> DeadLetterFilter:
    from bridge.domain.addresses import parse_sender
    from bridge.domain.dead_letters import DeadLetterFilter
    from bridge.domain.errors import InvalidAddress

    try:
        region = settings.addresses.default_region
        parsed = tuple(parse_sender(sender, default_region=region).wire for sender in senders)
    except InvalidAddress as error:
        raise click.UsageError(f"--sender {error}") from None
    return DeadLetterFilter(outcomes=outcomes, senders=parsed, **rest)


def _asked(
    invocation: Invocation, settings: Settings, wanted: DeadLetterFilter, what: str
) -> DeadLetterFilter:
    """Ask for confirmation and return the selection, limited to the present number; abort the command on "no"."""
    from dataclasses import replace

    from bridge.app.dead import dead_letters

    count = sum(1 for _ in invocation.use(dead_letters)(settings, wanted))
    if count:
        click.confirm(f"{what} {count} dead letter{'s' * (count > 1)}?", abort=True, err=True)
    return replace(wanted, limit=count)


def _done(letters: Iterable[DeadLetter], wanted: DeadLetterFilter, what: str, *, as_json: bool) -> int:
    found: set[str | None] = set()
    count = 0

    def counted(shown: Progress) -> Iterator[DeadLetter]:
        nonlocal count
        for letter in letters:
            count += 1
            shown(count, wanted.limit)
            if wanted.ids:
                found.update((letter.event_id, letter.command_id))
            yield letter

    with progress("dead letters", prints=True) as shown:
        write_letters(counted(shown), as_json=as_json)
    write_line(f"{count} {what}", err=True)
    missing = [id_ for id_ in wanted.ids if id_ not in found]
    for id_ in missing:
        write_line(f"no dead letter has the id {id_}", err=True)
    return Exit.FAILED if missing else Exit.DONE
