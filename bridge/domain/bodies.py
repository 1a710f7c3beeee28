"""The body of a command: a JSON object of a bounded size."""

from __future__ import annotations

from bridge.domain.errors import UnreadableCommand
from bridge.domain.strict_json import NotStrictJSON, loads

#: Bytes; a command is a message and a few addresses, and the ledger keeps its outcome for months.
MAX_BODY = 256 * 1024
#: A command nests two deep; what nests deeper is not one.
MAX_DEPTH = 16


def read_object(body: bytes) -> dict[str, object]:
    """Return the object that a body is; its fields are not judged.

    Raises:
        UnreadableCommand: it is too large, not JSON or not an object.

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
