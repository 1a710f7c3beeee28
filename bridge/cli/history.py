"""`bridge history`: shows and deletes an account's messages at the provider (wire reference 4.2 to 4.4)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.invocation import Invocation, config_option, json_option, pass_invocation
from bridge.cli.output import write_line, write_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.adapters.cpaas.history import MessageHistory
    from bridge.adapters.cpaas.values import ProviderMessage, ProviderThread
    from bridge.settings import Settings


#: The usual widths of the columns that have others behind them.
_WIDTHS = {
    "remote_address": 16,
    "local_address": 16,
    "last_message_at": 24,
    "at": 24,
    "direction": 9,
    "status": 20,
    "message_id": 36,
}


@click.group()
def history() -> None:
    """Show or delete the messages that the provider keeps.

    REMOTE is the other party's number, LOCAL the account's own, in any form that a command accepts.
    """


_remote = click.argument("remote", metavar="REMOTE")
_local = click.argument("local", metavar="LOCAL")


@history.command()
@click.argument("remote", metavar="[REMOTE]", required=False)
@json_option
@config_option
@pass_invocation
def threads(invocation: Invocation, *, remote: str | None, as_json: bool) -> None:
    """Print the pairs of numbers that have messages: all, or those with REMOTE."""
    settings = invocation.settings()
    number = None if remote is None else _number(settings, remote)
    found = _history(invocation, settings).threads(number)
    _write([_thread(thread) for thread in found.threads], as_json=as_json)
    # Threads that move in the list during the read may be missed; that many pages were read is no defect.
    if not found.ended:
        write_line("there are more: the provider's list could not be read to its end", err=True)


@history.command()
@_remote
@_local
@click.option("--limit", type=click.IntRange(min=1), help="The maximum number; the newest are printed.")
@click.option("--full", is_flag=True, help="Include the texts.")
@json_option
@config_option
@pass_invocation
def messages(
    invocation: Invocation, *, remote: str, local: str, limit: int | None, full: bool, as_json: bool
) -> None:
    """Print the messages between REMOTE and LOCAL, the oldest first."""
    settings = invocation.settings()
    found = _history(invocation, settings).messages(_number(settings, remote), _number(settings, local))
    # The provider lists the newest first, also within one second.
    newest = sorted(found.messages, key=lambda message: message.at or 0.0, reverse=True)[:limit]
    _write([_message(message, full=full) for message in reversed(newest)], as_json=as_json)
    if not found.complete:
        write_line("there may be more: the provider's list could not be read whole", err=True)


@history.command()
@_remote
@_local
@click.argument("message_id", metavar="MESSAGE_ID")
@json_option
@config_option
@pass_invocation
def status(invocation: Invocation, *, remote: str, local: str, message_id: str, as_json: bool) -> None:
    """Print the provider's status of one message."""
    settings = invocation.settings()
    found = _history(invocation, settings).status(
        _number(settings, remote), _number(settings, local), message_id
    )
    _write([{"message_id": message_id, "status": found}], as_json=as_json)


@history.command()
@_remote
@_local
@click.argument("message_id", metavar="[MESSAGE_ID]", required=False)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@config_option
@pass_invocation
def delete(invocation: Invocation, *, remote: str, local: str, message_id: str | None, yes: bool) -> None:
    """Delete one message, or all between REMOTE and LOCAL. Deleting a missing message succeeds.

    A submission in doubt whose message was deleted is sent again, because nothing proves that it was sent.
    """
    settings = invocation.settings()
    pair = _number(settings, remote), _number(settings, local)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("cannot ask without a terminal: give --yes")
        what = f"message {message_id}" if message_id else f"all messages between {pair[0]} and {pair[1]}"
        click.confirm(f"Delete {what}?", abort=True, err=True)
    found = _history(invocation, settings)
    if message_id is None:
        found.delete_thread(*pair)
    else:
        found.delete_message(*pair, message_id)


def _history(invocation: Invocation, settings: Settings) -> MessageHistory:
    from bridge.app.oneshot import message_history

    return invocation.use(message_history)(settings)


def _number(settings: Settings, text: str) -> str:
    """Return a number as the provider names it in its paths."""
    from bridge.domain.addresses import parse_address
    from bridge.domain.errors import InvalidAddress

    try:
        return parse_address(text, default_region=settings.addresses.default_region).wire
    except InvalidAddress as error:
        raise click.UsageError(f"{text}: {error}") from None


def _thread(thread: ProviderThread) -> dict[str, object]:
    return {
        "remote_address": thread.remote_address,
        "local_address": thread.local_address,
        "last_message_at": _time(thread.last_message_at),
        "messages": thread.length,
    }


def _message(message: ProviderMessage, *, full: bool) -> dict[str, object]:
    text = message.text
    content = {"message": text} if full else {"characters": None if text is None else len(text)}
    return {
        "at": _time(message.at),
        "direction": message.direction,
        "status": message.status,
        "message_id": message.message_id,
        **content,
    }


def _time(at: float | None) -> str | None:
    from bridge.domain.events import rfc3339

    try:
        return None if at is None else rfc3339(at)
    except (ValueError, OverflowError, OSError):
        # The provider's times may be of any year.
        return str(at)


def _write(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    columns = {} if not rows else {name: _WIDTHS.get(name, 0) for name in rows[0]}
    write_rows(rows, columns, as_json=as_json)
