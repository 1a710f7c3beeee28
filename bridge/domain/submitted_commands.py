"""A command that comes by HTTP: read as a worker would read it, and made the message that a worker gets.

The body travels on byte for byte. What it is known by may stand beside it, in a header; then that is the AMQP
`message_id`, which stands in where a body has no `id`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.domain.command_parser import parse_object, read_object
from bridge.domain.commands import Malformed
from bridge.domain.contracts.commands import SEND
from bridge.domain.deliveries import trace_context
from bridge.domain.errors import CommandInvalid, UnreadableCommand
from bridge.domain.messages import Outgoing
from bridge.domain.shown_ids import shown_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.commands import CommandRules
    from bridge.domain.messages import SubmittedCommand

_NO_ID = "id is missing: give one in the body, or as the Idempotency-Key"
_TWO_IDS = "id and the Idempotency-Key are both given and differ"
#: Percent-encoded, too, clients take these out of a path (RFC 3986 section 5.2.4): they would ask for another place.
_DOT_SEGMENTS = frozenset({".", ".."})
_FOLDED_ID = "id is one or two dots, which clients take out of the path to ask for it by: give another"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedCommand:
    """A valid command, ready to be published."""

    id: str
    #: The id as a log may have it.
    shown_id: str
    #: Whether its sender chose that, and may come again with it.
    has_own_id: bool
    destinations: int
    content_hash: bytes = field(repr=False)
    message: Outgoing = field(repr=False)


def make_ready(
    submitted_command: SubmittedCommand,
    *,
    rules: CommandRules,
    exchange: str,
    now: float,
    new_id: Callable[[], str],
) -> ValidatedCommand:
    """Judge what was handed over by the workers' own rules; `new_id` is for where these ask for no id.

    Raises:
        UnreadableCommand: it is no JSON object, or does not say what it is known by, or says it twice.
        InvalidCommand: it is not a valid command; with every reason.

    """
    document = read_object(submitted_command.body)
    given, key = document.get("id"), submitted_command.key
    if given is not None and key is not None and given != key:
        raise UnreadableCommand(_TWO_IDS)
    has_own_id = given is not None or key is not None
    if not has_own_id:
        if not rules.allow_missing_id:
            raise UnreadableCommand(_NO_ID)
        # Made here and not by the worker: who handed it over is told.
        key = new_id()
    command = parse_object(document, key, rules=rules, now=now)
    reasons = command.reasons if isinstance(command, Malformed) else ()
    if command.id in _DOT_SEGMENTS:
        reasons = (*reasons, _FOLDED_ID)
    if isinstance(command, Malformed) or reasons:
        addresses = command.addresses if isinstance(command, Malformed) else None
        raise CommandInvalid(*reasons, addresses=addresses)
    id_ = str(command.id)
    traceparent = trace_context(submitted_command.traceparent)
    return ValidatedCommand(
        id=id_,
        shown_id=shown_id(command) or id_,
        has_own_id=has_own_id,
        destinations=len(command.destinations),
        content_hash=command.content_hash,
        message=Outgoing(
            exchange=exchange,
            routing_key=SEND,
            body=submitted_command.body,
            properties={"message_id": id_, "timestamp": int(now)},
            headers={} if traceparent is None else {"traceparent": traceparent},
        ),
    )
