"""Parser of the "send SMS" command; it reports all mistakes of a command at once (SPEC section 3.1)."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from bridge.domain.addresses import DEFAULT, DEFAULT_SENDER, Address, parse_address, parse_sender
from bridge.domain.commands import Malformed, SendSms
from bridge.domain.contracts.commands import COMMAND, MAX_ID_LENGTH
from bridge.domain.errors import InvalidAddress, UnreadableCommand
from bridge.domain.events import camel
from bridge.domain.moments import parse_rfc3339
from bridge.domain.strict_json import NotStrictJSON, loads
from bridge.domain.unknown_fields import reasons as unknown_reasons
from bridge.domain.unknown_fields import unknown_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.domain.commands import CommandRules, Parsed

#: Bytes. A command is a message and a few addresses, and the ledger keeps its outcome for months.
MAX_BODY = 256 * 1024
#: Levels of arrays and objects; a valid command has two.
MAX_DEPTH = 16
#: Seconds that `send_at` may be in the future.
MAX_AHEAD = 30 * 86400

#: Field names in snake_case, each with the spelling of the provider's Node.js SDK.
FIELDS = {name: camel(name) for name in COMMAND.names}
_SPELLINGS = frozenset([*FIELDS, *FIELDS.values()])


def parse_command(body: bytes, message_id: object, *, rules: CommandRules, now: float) -> Parsed:
    """Parse a command. `message_id` is the AMQP property, used if the body has no `id`.

    `now` is in seconds since the epoch. Never raises because of a message's content.
    """
    try:
        document = read_object(body)
    except UnreadableCommand as error:
        return Malformed(id=id_or_none(message_id), reasons=error.reasons)
    return parse_object(document, message_id, rules=rules, now=now)


def parse_object(
    document: dict[str, object], message_id: object, *, rules: CommandRules, now: float
) -> Parsed:
    """Parse a command whose body is already decoded, like `parse_command`."""
    return _Reader(document, rules, now).read(message_id)


def read_object(body: bytes) -> dict[str, object]:
    """Return the JSON object in a body, without checking its fields.

    Raises:
        UnreadableCommand: the body is too large, not JSON or not an object.

    """
    if len(body) > MAX_BODY:
        raise UnreadableCommand(f"the body is larger than {MAX_BODY} bytes")
    try:
        document = loads(body, max_depth=MAX_DEPTH)
    except NotStrictJSON as error:
        raise UnreadableCommand(f"the body {error}") from None
    if not isinstance(document, dict):
        raise UnreadableCommand("the body is not a JSON object")
    return document


class _Reader:
    """Parses the fields of one command and collects all mistakes."""

    def __init__(self, document: dict[str, object], rules: CommandRules, now: float) -> None:
        self._rules = rules
        self._now = now
        self._reasons: list[str] = []
        self._fields = {name: self._field(document, name, alias) for name, alias in FIELDS.items()}
        self._unknown = () if document.keys() <= _SPELLINGS else unknown_fields(document, _SPELLINGS)
        if rules.unknown_fields == "reject":
            self._reasons += unknown_reasons(self._unknown, _SPELLINGS)

    def read(self, message_id: object) -> Parsed:
        command_id = self._id(message_id)
        self._type()
        destinations = self._destinations()
        sender = self._sender()
        message = self._message()
        send_at, expires_at = self._times()
        metadata = self._metadata()
        if self._reasons or sender is None:
            return Malformed(
                id=command_id,
                reasons=tuple(self._reasons),
                metadata=metadata,
                addresses=(self._fields["destination_address"], self._fields["sender_address"]),
                unknown_fields=self._unknown,
            )
        return SendSms(
            id=command_id,
            destinations=destinations,
            sender=sender,
            names_sender=self._fields["sender_address"] is not None,
            message=message,
            send_at=send_at,
            expires_at=expires_at,
            metadata=metadata,
            content_hash=self._content_hash(),
            unknown_fields=self._unknown,
        )

    def _field(self, document: dict[str, object], name: str, alias: str) -> object:
        """Return a field in either of its spellings; null means not set."""
        value, aliased = document.get(name), document.get(alias)
        if value is not None and aliased is not None and value != aliased:
            self._reasons.append(f"{name} and {alias} are both given and differ")
        return aliased if value is None else value

    def _id(self, message_id: object) -> str | None:
        given = self._fields["id"]
        if given is None:
            given = message_id or None
            where = "the AMQP message_id"
        else:
            where = "id"
        if given is None:
            if not self._rules.allow_missing_id:
                self._reasons.append(
                    "id is missing, here and as the AMQP message_id: without an id a repeated command is sent again"
                )
            return None
        command_id = id_or_none(given)
        if command_id is None:
            self._reasons.append(f"{where} is not a string of 1 to {MAX_ID_LENGTH} printable characters")
        return command_id

    def _type(self) -> None:
        if self._fields["type"] not in (None, "sms"):
            self._reasons.append('type is not "sms"')

    def _destinations(self) -> tuple[Address, ...]:
        written = self._written_destinations()
        if written is None:
            return ()
        if len(written) > self._rules.max_destinations:
            self._reasons.append(
                f"destination_address names more than {self._rules.max_destinations} destinations"
            )
            return ()
        several = isinstance(self._fields["destination_address"], list)
        seen: dict[str, int] = {}
        found = []
        for index, text in enumerate(written):
            name = f"destination_address[{index}]" if several else "destination_address"
            address = self._address(name, text)
            if address is None:
                continue
            first = seen.setdefault(address.wire, index)
            if first != index:
                self._reasons.append(f"{name} is the same number as destination_address[{first}]")
            found.append(address)
        return tuple(found)

    def _written_destinations(self) -> list[object] | None:
        given = self._fields["destination_address"]
        if given is None:
            self._reasons.append("destination_address is missing")
        elif isinstance(given, str):
            return [given]
        elif not isinstance(given, list):
            self._reasons.append("destination_address is not a string or an array of strings")
        elif not given:
            self._reasons.append("destination_address is an empty array")
        else:
            return given
        return None

    def _address(self, name: str, text: object) -> Address | None:
        if not isinstance(text, str):
            self._reasons.append(f"{name} is not a string")
            return None
        try:
            return parse_address(
                text,
                default_region=self._rules.default_region,
                checks_length=self._rules.checks_length,
            )
        except InvalidAddress as error:
            self._reasons.append(f"{name} {error}")
            return None

    def _sender(self) -> Address | None:
        given = self._fields["sender_address"]
        if given is None:
            given = self._rules.default_sender
        if given is None or given == DEFAULT_SENDER:
            return DEFAULT
        if not isinstance(given, str):
            self._reasons.append("sender_address is not a string")
            return None
        try:
            return parse_sender(
                given,
                default_region=self._rules.default_region,
                checks_length=self._rules.checks_length,
            )
        except InvalidAddress as error:
            self._reasons.append(f"sender_address {error}")
            return None

    def _message(self) -> str:
        given = self._fields["message"]
        if given is None:
            self._reasons.append("message is missing")
        elif not isinstance(given, str):
            self._reasons.append("message is not a string")
        elif not given:
            self._reasons.append("message is empty")
        elif not _is_unicode(given):
            self._reasons.append("message has half a surrogate pair, which UTF-8 cannot encode")
        else:
            return given
        return ""

    def _times(self) -> tuple[float | None, float | None]:
        send_at, expires_at = self._time("send_at"), self._time("expires_at")
        if send_at is not None and send_at > self._now + MAX_AHEAD:
            self._reasons.append(f"send_at is more than {MAX_AHEAD // 86400} days ahead")
        if send_at is not None and expires_at is not None and expires_at <= send_at:
            self._reasons.append("expires_at is not after send_at")
        return send_at, expires_at

    def _time(self, name: str) -> float | None:
        given = self._fields[name]
        if given is None:
            return None
        time = parse_rfc3339(given) if isinstance(given, str) else None
        if time is None:
            self._reasons.append(
                f"{name} is not an RFC 3339 time with an offset, such as 2026-01-31T09:30:00Z"
            )
        return time

    def _metadata(self) -> Mapping[str, str] | None:
        given = self._fields["metadata"]
        if given is None:
            return None
        if isinstance(given, dict) and all(
            isinstance(value, str) and _is_unicode(key) and _is_unicode(value) for key, value in given.items()
        ):
            return given
        self._reasons.append("metadata is not an object of strings")
        return None

    def _content_hash(self) -> bytes:
        """Hash the content as written: two spellings of one number are different content."""
        destinations = self._fields["destination_address"]
        content = [
            "sms",
            [destinations] if isinstance(destinations, str) else destinations,
            self._fields["sender_address"],
            self._fields["message"],
        ]
        return hashlib.sha256(json.dumps(content).encode()).digest()


def id_or_none(given: object) -> str | None:
    """Return the value if it is valid as a command's id, else None."""
    if isinstance(given, str) and 1 <= len(given) <= MAX_ID_LENGTH and given.isprintable():
        return given
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
