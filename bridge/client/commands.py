"""Commands of callers, validated by the worker's rules before they are published."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Required, TypedDict

from bridge.client.arguments import not_a
from bridge.client.errors import InvalidCommand
from bridge.domain.command_parser import parse_command
from bridge.domain.commands import CommandRules, Malformed
from bridge.domain.contracts.shapes import TRACEPARENT

if TYPE_CHECKING:
    from collections.abc import Iterator

_TRACEPARENT = re.compile(str(TRACEPARENT["pattern"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A request to send one message to one or several destinations. Its `repr` shows neither text nor number."""

    #: An address, or several: `+16131234567`, a national number, `tel:` or `sip:`.
    to: str | Sequence[str] = field(repr=False)
    message: str = field(repr=False)
    #: A number of the account; None for the one that the bridge's configuration, or the provider, chooses.
    sender: str | None = field(default=None, repr=False)
    #: Identifies the command, so that it is sent once: derive it from the subject, such as `order-4711-shipped`.
    #: None: a random UUID.
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
    """A validated command, as it is published."""

    id: str
    destinations: int
    body: bytes = field(repr=False)
    headers: Mapping[str, object]


def make_ready(command: Command, *, rules: CommandRules, now: float) -> Ready:
    """Return the command as it is published, with an id. `now` is in seconds since the epoch.

    Raises:
        InvalidCommand: with every reason for which a worker would not take it.

    """
    if reasons := list(_wrong_types(command)):
        raise InvalidCommand(reasons)
    fields: dict[str, object] = {
        "id": str(uuid.uuid4()) if command.id is None else command.id,
        "destination_address": command.to if isinstance(command.to, str) else list(command.to),
        "sender_address": command.sender,
        "message": command.message,
        "send_at": _rfc3339(command.send_at),
        "expires_at": _rfc3339(command.expires_at),
        "metadata": command.metadata if command.metadata is None else dict(command.metadata),
    }
    body = _encode({key: value for key, value in fields.items() if value is not None})
    parsed = parse_command(body, None, rules=rules, now=now)
    reasons = [_in_our_names(reason) for reason in parsed.reasons] if isinstance(parsed, Malformed) else []
    if command.traceparent is not None and not _TRACEPARENT.fullmatch(command.traceparent):
        reasons.append("traceparent is not a W3C trace context, such as 00-<32 hex>-<16 hex>-01")
    if isinstance(parsed, Malformed) or reasons:
        raise InvalidCommand(reasons)
    headers = {} if command.traceparent is None else {"traceparent": command.traceparent}
    return Ready(id=str(parsed.id), destinations=len(parsed.destinations), body=body, headers=headers)


def _wrong_types(command: Command) -> Iterator[str]:
    """Yield a reason for each field whose type is wrong; the worker's rules see only JSON."""
    yield from _wrong_destinations(command.to)
    if not isinstance(command.message, str):
        yield not_a("message", command.message, "a str")
    for name in ("sender", "id", "traceparent"):
        value = getattr(command, name)
        if value is not None and not isinstance(value, str):
            yield not_a(name, value, "a str")
    for name in ("send_at", "expires_at"):
        yield from _wrong_time(name, getattr(command, name))
    yield from _wrong_metadata(command.metadata)


def _wrong_destinations(to: object) -> Iterator[str]:
    # A set has no order, and outcomes name destinations by their index; bytes are a sequence of numbers.
    if isinstance(to, str):
        return
    if not isinstance(to, Sequence) or isinstance(to, bytes | bytearray | memoryview):
        yield not_a("to", to, "a str or a list of str")
        return
    for position, one in enumerate(to):
        if not isinstance(one, str):
            yield not_a(f"to[{position}]", one, "a str")


def _wrong_time(name: str, given: object) -> Iterator[str]:
    if isinstance(given, datetime):
        if given.utcoffset() is None:
            yield f"{name} must be a datetime with a time zone, such as datetime.now(UTC); this one has none"
    elif given is not None and not isinstance(given, str):
        yield not_a(name, given, "a datetime with a time zone or a str in RFC 3339")


def _wrong_metadata(given: object) -> Iterator[str]:
    if given is None:
        return
    if not isinstance(given, Mapping):
        yield not_a("metadata", given, "a dict of str to str")
        return
    # JSON would make a string of a number that is a key.
    for what, parts in (("keys", given.keys()), ("values", given.values())):
        kinds = sorted({type(part).__name__ for part in parts if not isinstance(part, str)})
        if kinds:
            yield f"metadata must be a dict of str to str, and has {what} of type {', '.join(kinds)}"


def _in_our_names(reason: str) -> str:
    """Return a reason of the worker with the names that the fields have here."""
    return reason.replace("destination_address", "to").replace("sender_address", "sender")


def _rfc3339(given: datetime | str | None) -> str | None:
    """Return a time as RFC 3339 section 5.6 writes it, in UTC: an offset there has no seconds."""
    if not isinstance(given, datetime):
        return given
    try:
        return given.astimezone(UTC).isoformat()
    except OverflowError:
        # Within a day of the years 1 and 9999.
        return given.isoformat()


def _encode(document: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # Half a surrogate pair: escaped it is JSON, and then refused by name.
        return json.dumps(document).encode()
