"""Connections: bytes to requests, replies to bytes, and the sockets' own ways to fail."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, cast

import structlog

from bridge.simulator.http import Manner, Reply, SimulatorRequest, head
from bridge.simulator.parsing import NotReadable, RequestReader

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()

#: l_onoff and l_linger: closing discards what is unsent and answers with RST.
_LINGER_NOTHING = struct.pack("ii", 1, 0)
_GARBAGE = b"\x00\xff\x13\x37 this is no HTTP \xfe\r\n\r\n"
#: Seconds between two bytes of a drip that names none.
_PACE = 0.2
_DRAIN = 0.2  #: Seconds that a stopping server leaves its connections to flush.


class SimulatorConnection(asyncio.Protocol):
    """One client's connection: its requests are answered one after the other, in order."""

    def __init__(self, answer: Callable[[SimulatorRequest], Reply], server: SimulatorServer) -> None:
        self._answer = answer
        self._server = server
        self._reader = RequestReader()
        self._waiting: deque[SimulatorRequest] = deque()
        self._current: Reply | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.idle_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)
        self.idle_since = asyncio.get_running_loop().time()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """End: nobody is there any more to be answered."""
        self._server.connections.discard(self)
        self._transport = None
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._finish()

    def data_received(self, data: bytes) -> None:
        """Take bytes and answer what they complete."""
        self.idle_since = None
        try:
            self._waiting.extend(self._reader.feed(data))
        except NotReadable as error:
            log.info("request.unreadable", reason=str(error))
            self._write(Reply(status=400), keep_alive=False)
            return
        self._next()

    @property
    def _closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def close(self) -> None:
        """Close after what is written has left."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once, with a reset."""
        if self._transport is None:
            return
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOTHING)
        self._transport.abort()

    def _next(self) -> None:
        while self._waiting and self._current is None and not self._closing:
            request = self._waiting.popleft()
            self._current = reply = self._answer(request)
            keep_alive = request.keep_alive and self._server.keep_alive() > 0
            if reply.delay:
                self._later(reply.delay, partial(self._leave, reply, keep_alive=keep_alive))
            else:
                self._transmit(reply, keep_alive=keep_alive)
        if self._current is None:
            self.idle_since = asyncio.get_running_loop().time()

    def _leave(self, reply: Reply, *, keep_alive: bool) -> None:
        self._transmit(reply, keep_alive=keep_alive)
        self._next()

    def _transmit(self, reply: Reply, *, keep_alive: bool) -> None:
        match reply.manner:
            case Manner.WHOLE:
                self._write(reply, keep_alive=keep_alive)
                self._finish()
            case Manner.DROP | Manner.TRUNCATE | Manner.GARBAGE:
                self._send(_fragment(reply))
                self.close()
            case Manner.RESET:
                self.abort()
            case Manner.HANG:
                if reply.pace is not None:
                    self._later(reply.pace, self.close)
            case Manner.DRIP:
                self._send(head(reply, keep_alive=False))
                self._drip(reply.body, _PACE if reply.pace is None else reply.pace)

    def _drip(self, rest: bytes, pace: float) -> None:
        self._send(rest[:1])
        if rest:
            self._later(pace, partial(self._drip, rest[1:], pace))
        else:
            self.close()

    def _write(self, reply: Reply, *, keep_alive: bool) -> None:
        self._send(head(reply, keep_alive=keep_alive) + reply.body)
        if not keep_alive:
            self.close()

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, call)

    def _finish(self) -> None:
        """Let go of the current reply, once."""
        reply, self._current = self._current, None
        if reply is not None and reply.done is not None:
            reply.done()


def _fragment(reply: Reply) -> bytes:
    """Return what leaves before the connection is closed."""
    if reply.manner is Manner.TRUNCATE:
        return head(reply, keep_alive=True) + reply.body[: len(reply.body) // 2]
    return _GARBAGE if reply.manner is Manner.GARBAGE else b""


class SimulatorServer:
    """Listens, and closes what idles for longer than `keep_alive` seconds."""

    def __init__(self, answer: Callable[[SimulatorRequest], Reply], keep_alive: Callable[[], float]) -> None:
        self._answer = answer
        self.keep_alive = keep_alive
        self.connections: set[SimulatorConnection] = set()
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port; 0 takes any that is free.

        Raises:
            OSError: the address is taken, or not ours.

        """
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: SimulatorConnection(self._answer, self), host, port, backlog=1024
        )
        self._sweep()
        return int(self._listener.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and end every connection, whatever it waits for."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.connections):
            connection.close()
        deadline = asyncio.get_running_loop().time() + _DRAIN
        while self.connections and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.005)
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        limit = self.keep_alive()
        for connection in list(self.connections):
            if connection.idle_since is not None and loop.time() - connection.idle_since >= limit > 0:
                connection.close()
        self._sweeper = loop.call_later(min(1.0, max(0.05, limit / 4)), self._sweep)
