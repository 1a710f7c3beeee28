"""A request and a reply of the simulator as values."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from bridge.adapters.http.server.response import Dates, RawResponse, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.adapters.http.server.parser import Request

_GARBAGE = b"\x00\xff\x13\x37 this is no HTTP \xfe\r\n\r\n"
#: Seconds between two bytes of a drip that names none.
_PACE = 0.2


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
    """An answer: its content, its delay, and the manner in which it is sent."""

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


def simulator_request(request: Request) -> SimulatorRequest:
    """Return the request as the endpoints read it."""
    path, _, query = request.target.decode("ascii", "replace").partition("?")
    return SimulatorRequest(
        method=request.method,
        parts=tuple(map(unquote, path.strip("/").split("/"))),
        query=dict(parse_qsl(query, keep_blank_values=True)) if query else {},
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in request.fields.items()},
        body=bytes(request.body),
    )


def response_of(reply: Reply, keep_alive: float) -> Response | RawResponse | None:
    """Return what leaves: a response, behind which its connection may idle for so long, raw bytes, or nothing."""
    match reply.manner:
        case Manner.DROP:
            return RawResponse()
        case Manner.RESET:
            return RawResponse(resets=True)
        case Manner.HANG:
            return None if reply.pace is None else RawResponse(pace=reply.pace)
        case Manner.GARBAGE:
            return RawResponse(data=_GARBAGE)
        case Manner.TRUNCATE:
            return RawResponse(data=_head(reply) + reply.body[: len(reply.body) // 2])
        case Manner.DRIP:
            pace = _PACE if reply.pace is None else reply.pace
            return RawResponse(data=_head(reply), drip=reply.body, pace=pace)
        case Manner.WHOLE:
            return _whole(reply, keep_alive)


def _whole(reply: Reply, keep_alive: float) -> Response:
    headers = dict(reply.headers)
    if reply.body:
        headers["Content-Type"] = reply.content_type
    return Response(reply.status, headers, reply.body, closes=not keep_alive, keep_alive=keep_alive)


def _head(reply: Reply) -> bytes:
    return _whole(reply, 0).encode(Dates().line(time.time()), persistence=b"", bodiless=True)
