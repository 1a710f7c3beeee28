"""A command submitted over HTTP: validated by the workers' rules and made into the message that a worker receives.

The body is published unchanged. The id may come in the Idempotency-Key header instead of the body; it becomes the AMQP
`message_id`, from which a worker takes the id of a body without one.
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
#: Clients remove these from a path, also percent-encoded (RFC 3986 section 5.2.4), and would request another path.
_DOT_SEGMENTS = frozenset({".", ".."})
_FOLDED_ID = "id is one or two dots, which clients remove from the path of GET: use another id"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedCommand:
    """A valid command, ready to be published."""

    id: str
    #: The id in a form that may be logged.
    shown_id: str
    #: Whether the sender chose the id, and so may repeat the request with it.
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
    """Validate a submitted command by the workers' rules; `new_id` makes an id if the rules allow a missing one.

    Raises:
        UnreadableCommand: it is not a JSON object, its id is missing, or its two ids differ.
        CommandInvalid: it is not a valid command; with all reasons.

    """
    document = read_object(submitted_command.body)
    given, key = document.get("id"), submitted_command.key
    if given is not None and key is not None and given != key:
        raise UnreadableCommand(_TWO_IDS)
    has_own_id = given is not None or key is not None
    if not has_own_id:
        if not rules.allow_missing_id:
            raise UnreadableCommand(_NO_ID)
        # Made here and not by the worker, so that the response contains it.
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
