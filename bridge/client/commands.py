"""Commands as callers write them, judged by the worker's own rules before anything is published."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Required, TypedDict

from bridge.client.errors import InvalidCommand
from bridge.core.commands import CommandRules, Malformed, parse_command
from bridge.core.contracts.shapes import TRACEPARENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TRACEPARENT = re.compile(str(TRACEPARENT["pattern"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A request to send one message to one or several destinations. Its `repr` shows neither text nor number."""

    #: An address, or several: `+16131234567`, a national number, `tel:` or `sip:`.
    to: str | Sequence[str] = field(repr=False)
    message: str = field(repr=False)
    #: A number of the account; None for the one that the bridge's configuration, or the provider, chooses.
    sender: str | None = field(default=None, repr=False)
    #: What makes two commands one: take it from what the SMS is about, such as `order-4711-shipped`. None: made up.
    id: str | None = None
    #: Not before this, at most 30 days ahead: a datetime with a time zone, or RFC 3339.
    send_at: datetime | str | None = None
    #: Not after this.
    expires_at: datetime | str | None = None
    #: Echoed on every event of the command.
    metadata: Mapping[str, str] | None = field(default=None, repr=False)
    #: W3C trace context; it goes on to the provider and the events.
    traceparent: str | None = None


class Fields(TypedDict, total=False):
    """The fields of a command, as keywords; `Command` says what they mean."""

    to: Required[str | Sequence[str]]
    message: Required[str]
    sender: str | None
    id: str | None
    send_at: datetime | str | None
    expires_at: datetime | str | None
    metadata: Mapping[str, str] | None
    traceparent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A command that a worker would take."""

    id: str
    destinations: int
    body: bytes = field(repr=False)
    headers: Mapping[str, object]


def make_ready(command: Command, *, rules: CommandRules, now: float) -> Ready:
    """Return the command as it goes out, with an id. `now` is in seconds since the epoch.

    Raises:
        InvalidCommand: with every reason for which a worker would not take it.

    """
    fields: dict[str, object] = {
        "id": str(uuid.uuid4()) if command.id is None else command.id,
        "destination_address": command.to if isinstance(command.to, str) else list(command.to),
        "sender_address": command.sender,
        "message": command.message,
        "send_at": _time(command.send_at),
        "expires_at": _time(command.expires_at),
        "metadata": command.metadata if command.metadata is None else dict(command.metadata),
    }
    body = _encode({key: value for key, value in fields.items() if value is not None})
    parsed = parse_command(body, None, rules=rules, now=now)
    reasons = list(parsed.reasons) if isinstance(parsed, Malformed) else []
    if command.traceparent is not None and not _TRACEPARENT.fullmatch(command.traceparent):
        reasons.append("traceparent is no W3C trace context")
    if isinstance(parsed, Malformed) or reasons:
        raise InvalidCommand(reasons)
    headers = {} if command.traceparent is None else {"traceparent": command.traceparent}
    return Ready(id=str(parsed.id), destinations=len(parsed.destinations), body=body, headers=headers)


def _time(given: datetime | str | None) -> str | None:
    """Return a time as RFC 3339 has it; one without a zone stays without, and is refused for that."""
    return given.isoformat() if isinstance(given, datetime) else given


def _encode(document: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # Half a surrogate pair: escaped it is JSON, and then refused by name.
        return json.dumps(document).encode()
    except (TypeError, ValueError):
        raise InvalidCommand(["it holds what JSON has no word for"]) from None
