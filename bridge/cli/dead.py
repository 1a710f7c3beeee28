"""`bridge dead`: commands that ended badly, and what to do about them."""

from __future__ import annotations

import base64
import json
import sys
from functools import reduce
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.exits import Exit, Failed
from bridge.cli.invocation import Invocation, config_option, json_option, pass_invocation
from bridge.cli.moments import moment
from bridge.cli.output import Table, write_array, write_json, write_line
from bridge.cli.progress import progress
from bridge.domain.printing import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from bridge.domain.dead_letters import DeadLetter, Wanted
    from bridge.ports import Progress
    from bridge.settings import Settings

#: The outcomes that leave a dead letter, and `bridge.domain.dead_letters.BROKER`.
_OUTCOMES = ("invalid", "rejected", "failed", "unknown", "expired", "broker")

#: The columns of the table and their usual widths.
_COLUMNS = {
    "dead_at": 24,
    "outcome": 8,
    "command": 40,
    "attempts": 8,
    "sender_address": 14,
    "destination_address": 16,
    "event_id": 36,
    "reason": 0,
}


@click.group()
def dead() -> None:
    """Look at dead letters, send them back, or throw them away."""


_WHICH: tuple[Callable[[Any], Any], ...] = (
    click.option("--outcome", "outcomes", multiple=True, type=click.Choice(_OUTCOMES), help="Repeatable."),
    click.option(
        "--reason", "reasons", multiple=True, metavar="WORD", help="The reason has this in it; repeatable."
    ),
    click.option("--sender", "senders", multiple=True, metavar="ADDRESS", help="Repeatable; also default."),
    click.option(
        "--since", callback=moment, metavar="TIME", help="Died then or later: a time, or 15m, 2h, 7d ago."
    ),
    click.option("--before", callback=moment, metavar="TIME", help="Died before that."),
    click.option(
        "--id", "ids", multiple=True, metavar="ID", help="The command's id or the event's; repeatable."
    ),
    click.option("--limit", type=click.IntRange(min=1), help="So many at most, from the head of the queue."),
)


def _which(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which dead letters are meant."""
    return reduce(lambda made, option: option(made), reversed(_WHICH), command)


_event_ids = click.argument("event_ids", metavar="[EVENT_ID]...", nargs=-1)
_yes = click.option("--yes", is_flag=True, help="Don't ask.")
_all = click.option("--all", "everything", is_flag=True, help="Whatever is there.")


@dead.command("list")
@_which
@click.option("--full", is_flag=True, help="With whole numbers.")
@json_option
@config_option
@pass_invocation
def list_(invocation: Invocation, /, *, full: bool, as_json: bool, **which: Any) -> None:
    """Print dead letters without taking anything away.

    Their order on the queue may change, and while they are read nobody else sees them.
    """
    settings = invocation.settings()
    letters = invocation.wiring.dead_letters(settings, _wanted(settings, **which))
    _write(letters, as_json=as_json, full=full)


@dead.command()
@click.argument("event_id", metavar="EVENT_ID")
@click.option("--full", is_flag=True, help="With its text, its numbers and all that came with it.")
@json_option
@config_option
@pass_invocation
def show(invocation: Invocation, event_id: str, *, full: bool, as_json: bool) -> None:
    """Print one dead letter, by the id of its event or of its command."""
    settings = invocation.settings()
    found = [
        {**_row(letter, full=full), "meaning": _meaning(letter), **_content(letter, full=full)}
        for letter in invocation.wiring.dead_letters(settings, _wanted(settings, ids=(event_id,)))
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
    "--resend", is_flag=True, help="Send anew what nobody can tell, once reconciling found nothing."
)
@_all
@click.option("--dry-run", is_flag=True, help="Only print which.")
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
    """Send dead letters back to the command queue: those with the ids given, or all that the options leave.

    A failed, expired or rejected message is sent again; an unknown one is reconciled first. A message that was sent
    since is not sent again. A letter goes once the broker has its command.
    """
    settings = invocation.settings()
    wanted = _said(settings, event_ids, everything=everything, **which)
    if not dry_run and not yes and sys.stdin.isatty():
        wanted = _asked(invocation, settings, wanted, "Send back")
    letters = (
        invocation.wiring.dead_letters(settings, wanted)
        if dry_run
        else invocation.wiring.replay_dead(settings, wanted, resend=resend)
    )
    return _done(letters, wanted, "would be sent back" if dry_run else "sent back", as_json=as_json)


@dead.command()
@_event_ids
@_which
@_all
@click.option("--dry-run", is_flag=True, help="Only print which.")
@_yes
@json_option
@config_option
@pass_invocation
def purge(
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
    """Throw dead letters away for good: those with the ids given, or all that the options leave."""
    settings = invocation.settings()
    wanted = _said(settings, event_ids, everything=everything, **which)
    if not dry_run and not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody is here to ask: give --yes")
        wanted = _asked(invocation, settings, wanted, "Throw away")
    letters = (
        invocation.wiring.dead_letters(settings, wanted)
        if dry_run
        else invocation.wiring.purge_dead(settings, wanted)
    )
    return _done(letters, wanted, "would be thrown away" if dry_run else "thrown away", as_json=as_json)


def _said(settings: Settings, event_ids: tuple[str, ...], *, everything: bool, **which: Any) -> Wanted:
    """Return which are meant; all are only where somebody said so: one forgotten option must not move the whole queue.

    Raises:
        click.UsageError: nothing was said.

    """
    wanted = _wanted(settings, **{**which, "ids": which["ids"] + event_ids})
    if wanted.everything and not everything:
        raise click.UsageError("say which, or --all")
    return wanted


def _wanted(
    settings: Settings,
    *,
    outcomes: tuple[str, ...] = (),
    senders: tuple[str, ...] = (),
    **rest: Any,
) -> Wanted:
    from bridge.domain.addresses import parse_sender
    from bridge.domain.dead_letters import Wanted
    from bridge.domain.errors import InvalidAddress

    try:
        region = settings.addresses.default_region
        parsed = tuple(parse_sender(sender, default_region=region).wire for sender in senders)
    except InvalidAddress as error:
        raise click.UsageError(f"--sender {error}") from None
    return Wanted(outcomes=outcomes, senders=parsed, **rest)


def _asked(invocation: Invocation, settings: Settings, wanted: Wanted, what: str) -> Wanted:
    """Ask whether to go on with as many as there are now, and return those; ends the command otherwise."""
    from dataclasses import replace

    count = sum(1 for _ in invocation.wiring.dead_letters(settings, wanted))
    if count:
        click.confirm(f"{what} {count} dead letter{'s' * (count > 1)}?", abort=True, err=True)
    return replace(wanted, limit=count)


def _done(letters: Iterable[DeadLetter], wanted: Wanted, what: str, *, as_json: bool) -> int:
    found: set[str | None] = set()
    count = 0

    def counted(told: Progress) -> Iterator[DeadLetter]:
        nonlocal count
        for letter in letters:
            count += 1
            told(count, wanted.limit)
            if wanted.ids:
                found.update((letter.event_id, letter.command_id))
            yield letter

    with progress("dead letters", prints=True) as told:
        _write(counted(told), as_json=as_json)
    write_line(f"{count} {what}", err=True)
    missing = [id_ for id_ in wanted.ids if id_ not in found]
    for id_ in missing:
        write_line(f"no dead letter has the id {id_}", err=True)
    return Exit.FAILED if missing else Exit.DONE


def _write(letters: Iterable[DeadLetter], *, as_json: bool, full: bool = False) -> None:
    """Print each as it comes: there may be more than fit into memory."""
    if as_json:
        write_array(_row(letter, full=full) for letter in letters)
        return
    table = Table(**_COLUMNS)
    for letter in letters:
        row = _row(letter, full=full)
        which = "*" if letter.index is None else letter.index
        table.write({**row, "command": f"{row['command_id'] or '-'}[{which}]"})


def _row(letter: DeadLetter, *, full: bool = False) -> dict[str, object]:
    from bridge.domain.events import rfc3339
    from bridge.domain.masking import mask_number, mask_numbers

    sender = letter.sender
    return {
        "event_id": letter.event_id,
        "outcome": letter.outcome,
        "reason": None if letter.reason is None else mask_numbers(letter.reason),
        "command_id": letter.command_id,
        "index": letter.index,
        "attempts": letter.attempts,
        "dead_at": None if letter.dead_at is None else rfc3339(letter.dead_at),
        "sender_address": sender if full or sender in (None, "default") else mask_number(sender),
        "destination_address": [number if full else mask_number(number) for number in letter.destinations],
    }


def _meaning(letter: DeadLetter) -> str | None:
    """Return what the code in the reason means; None where the reason is in words already."""
    from bridge.domain.error_words import explain

    return None if letter.reason is None else explain(letter.reason)


def _content(letter: DeadLetter, *, full: bool) -> dict[str, object]:
    """Return what the letter holds: all of it, or what may be read along."""
    delivery = letter.delivery
    if not full:
        return {
            "characters": None if letter.message is None else len(letter.message),
            "bytes": len(delivery.body),
            "headers": sorted(delivery.headers),
        }
    return {
        **_body(delivery.body),
        "properties": _plain(delivery.properties),
        "headers": _plain(delivery.headers),
    }


def _body(body: bytes) -> dict[str, object]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    """Return what came over AMQP as JSON can say it."""
    plain: dict[str, object] = json.loads(json.dumps(dict(values), default=str))
    return plain
