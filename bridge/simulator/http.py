"""A request and a reply as values, and a reply's bytes. No socket here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_REASONS = {status.value: status.phrase for status in HTTPStatus}
#: Statuses that never carry a body or its length (RFC 9110 section 8.6).
_BODILESS = frozenset({204, 304})


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorRequest:
    """A request that was read whole."""

    method: str
    #: The percent-decoded parts of the path; a ``+`` is a ``+``, never a space.
    parts: tuple[str, ...]
    query: Mapping[str, str]
    #: By lower-case name.
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    keep_alive: bool = True


class Manner(Enum):
    """How a reply leaves, or does not."""

    WHOLE = auto()
    DROP = auto()  #: closed without a byte of it
    RESET = auto()  #: the same, with a TCP reset
    HANG = auto()  #: never, until the client leaves
    TRUNCATE = auto()  #: half of the body, then closed
    GARBAGE = auto()  #: bytes that are no HTTP, then closed
    DRIP = auto()  #: the body byte by byte


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is answered, when, and in which manner."""

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    #: Seconds to wait before it leaves.
    delay: float = 0.0
    manner: Manner = Manner.WHOLE
    #: Seconds between two bytes of a DRIP; how long a HANG lasts, where it has an end.
    pace: float | None = None
    #: Called once when it has left, or never will.
    done: Callable[[], None] | None = None


def json_reply(status: int, value: object) -> Reply:
    """Return a reply that carries `value` as JSON."""
    return Reply(status=status, body=json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def head(reply: Reply, *, keep_alive: bool) -> bytes:
    """Return the status line and headers, up to and with the empty line."""
    lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}"]
    if reply.status not in _BODILESS:
        lines.append(f"Content-Length: {len(reply.body)}")
        if reply.body:
            lines.append(f"Content-Type: {reply.content_type}")
    # The machine's own time, as any server's (RFC 9110 section 6.6.1): clients see by it how far theirs is off.
    lines.append(f"Date: {formatdate(usegmt=True)}")
    lines += [f"{name}: {value}" for name, value in reply.headers]
    lines.append("Connection: keep-alive" if keep_alive else "Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
