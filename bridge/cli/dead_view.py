"""Views of dead letters on the command line: a table, JSON, and one dead letter with its content."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from bridge.cli.output import Table, write_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.domain.dead_letters import DeadLetter

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


def write_letters(letters: Iterable[DeadLetter], *, as_json: bool, full: bool = False) -> None:
    """Print each dead letter as it arrives: there may be more than fit into memory."""
    if as_json:
        write_array(row_of(letter, full=full) for letter in letters)
        return
    table = Table(**_COLUMNS)
    for letter in letters:
        row = row_of(letter, full=full)
        which = "*" if letter.index is None else letter.index
        table.write({**row, "command": f"{row['command_id'] or '-'}[{which}]"})


def row_of(letter: DeadLetter, *, full: bool = False) -> dict[str, object]:
    from bridge.domain.events import rfc3339
    from bridge.domain.masks import mask_number, mask_numbers

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


def meaning_of(letter: DeadLetter) -> str | None:
    """Return the meaning of the code in the reason; None if the reason is plain text."""
    from bridge.domain.error_words import explain

    return None if letter.reason is None else explain(letter.reason)


def content_of(letter: DeadLetter, *, full: bool) -> dict[str, object]:
    """Return the content of a dead letter: all of it with `full`, otherwise sizes and names only."""
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
    """Return AMQP values as values of JSON."""
    plain: dict[str, object] = json.loads(json.dumps(dict(values), default=str))
    return plain
