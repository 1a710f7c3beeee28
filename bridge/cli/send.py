"""`bridge send`: publishes one command, and can wait for its outcome."""

from __future__ import annotations

import sys
import uuid
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.exits import Exit, Unavailable
from bridge.cli.invocation import Invocation, config_option, json_option, pass_invocation
from bridge.cli.output import write_json, write_line
from bridge.domain.masks import mask_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Seconds that a bare `--wait` waits.
_WAIT = 30.0
_SENT = "sms.outbound.sent"
#: A worker's reasons name fields; on the command line each field is an option.
_OPTIONS = {
    "id": "--id",
    "destination_address": "--to",
    "sender_address": "--from",
    "message": "--message",
    "send_at": "--send-at",
    "expires_at": "--expires-at",
    "metadata": "--metadata",
}
_AGAIN = "correct that and send the command again with {option}: one SMS is sent, even if the broker has the command"


@click.command()
@click.option(
    "--to", "to", multiple=True, required=True, metavar="ADDRESS", help="The destination; repeatable."
)
@click.option(
    "--from", "sender", metavar="ADDRESS", help="The sender. Default: the account's default number."
)
@click.option("--message", required=True, help="The text; - reads it from standard input.")
@click.option("--id", "command_id", help="The idempotency key. Default: a random one.")
@click.option("--send-at", metavar="TIME", help="Not before this (RFC 3339).")
@click.option("--expires-at", metavar="TIME", help="Not after this (RFC 3339).")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Echoed on every event; repeatable.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    is_flag=False,
    flag_value=_WAIT,
    metavar="[SECONDS]",
    help=f"Wait for the outcome ({_WAIT:g} s): 0 sent, 1 another outcome, 75 none yet.",
)
@json_option
@config_option
@pass_invocation
def send(
    invocation: Invocation,
    *,
    to: tuple[str, ...],
    sender: str | None,
    message: str,
    command_id: str | None,
    send_at: str | None,
    expires_at: str | None,
    metadata: tuple[str, ...],
    wait: float | None,
    as_json: bool,
) -> int:
    """Publish one command."""
    from bridge.app.oneshot import refusals, send

    fields = {
        "id": command_id or str(uuid.uuid4()),
        "destination_address": to[0] if len(to) == 1 else list(to),
        "sender_address": sender,
        "message": _text(message),
        "send_at": send_at,
        "expires_at": expires_at,
        "metadata": dict(map(_pair, metadata)) or None,
    }
    command = {key: value for key, value in fields.items() if value is not None}
    settings = invocation.settings()
    _refuse(invocation.use(refusals)(settings, command))
    try:
        outcomes = invocation.use(send)(settings, command, wait)
    except ConnectionError as error:
        raise Unavailable(f"{error}; {_AGAIN.format(option=_by_id('--id', command))}") from error
    _write(str(command["id"]), outcomes, as_json=as_json)
    if wait is None:
        return Exit.DONE
    code = exit_code(outcomes, len(to))
    if code is Exit.LATER:
        known = f"{len(outcomes)} of {len(to)} outcomes came within {wait:g} s; the broker has the command"
        write_line(f"{known}. See {_by_id('bridge ledger show', command)}, or wait for the event.", err=True)
    return code


def _refuse(reasons: Sequence[str]) -> None:
    """End the command before it is published if a worker would refuse it; each reason names its option.

    Raises:
        click.UsageError: with all reasons.

    """
    named = []
    for reason in reasons:
        field, space, rest = reason.partition(" ")
        name, bracket, index = field.partition("[")
        rest = rest.replace("destination_address", "--to")
        named.append(f"{_OPTIONS.get(name, name)}{bracket}{index}{space}{rest}")
    if named:
        raise click.UsageError("; ".join(named))


def _by_id(words: str, command: Mapping[str, object]) -> str:
    """Return `words` followed by the command's id, as text to type.

    An id may contain a phone number, which no message may repeat. Such an id is not shown at all: a masked id that is
    typed unchanged would be another command's.
    """
    identity = str(command["id"])
    return (
        f"{words} {identity}" if mask_numbers(identity) == identity else f"{words} with the id that you gave"
    )


def exit_code(outcomes: Sequence[Mapping[str, Any]], destinations: int) -> Exit:
    """Return the exit code for the outcomes of a command with this number of destinations."""
    if any(outcome.get("type") != _SENT for outcome in outcomes):
        return Exit.FAILED
    return Exit.DONE if len(outcomes) >= destinations else Exit.LATER


def _text(message: str) -> str:
    """Return the text to send; for `-` it is standard input without its last line end."""
    try:
        if message != "-":
            message.encode()
            return message
        return sys.stdin.buffer.read().decode().removesuffix("\n")
    except UnicodeError:
        # Without the error itself, which would show the text.
        raise click.UsageError("the message is not UTF-8") from None


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError("--metadata takes KEY=VALUE")
    return key, value


def _write(command_id: str, outcomes: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    from bridge.domain.events import value_of

    if as_json:
        write_json({"id": command_id, "outcomes": list(outcomes)})
        return
    write_line(command_id)
    for outcome in outcomes:
        data = outcome["data"]
        error = data.get("error")
        why = error.get("message") if isinstance(error, dict) else None
        what = value_of(data, "message_id") or why or ""
        number = value_of(data, "destination_address") or "-"
        write_line(f"{outcome.get('type', '-')} {number} {what}".rstrip())
