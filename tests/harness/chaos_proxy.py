"""A TCP proxy that misbehaves on demand, between a process and the broker (or any server on loopback).

Directions are seen from the client: `UP` is what it sends, `DOWN` is what it receives. A mode holds for the
connections that are open and for those to come, until another is chosen; the counters prove that a fault fired.

    pass_through   the default
    reset, finish  open connections end now, by RST or by FIN
    refuse         the same as reset, and what connects later is reset too
    black_hole     bytes of one or both directions vanish, the sockets stay open
    delay          each chunk comes so many seconds later
    throttle       so many bytes a second
    lead_to        open connections end by RST, those to come lead to another server
    cut_after      RST after n more bytes of one direction, once
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable

UP: Final = "up"
DOWN: Final = "down"
BOTH: Final = frozenset({UP, DOWN})

#: SO_LINGER on, 0 s: close() sends RST.
_RESET = struct.pack("ii", 1, 0)
_CHUNK = 16384


@dataclass(slots=True)
class Counters:
    """What went through and which faults fired."""

    connections: int = 0
    #: Bytes passed on, by direction.
    passed: dict[str, int] = field(default_factory=lambda: {UP: 0, DOWN: 0})
    #: Bytes a black hole took, by direction.
    swallowed: dict[str, int] = field(default_factory=lambda: {UP: 0, DOWN: 0})
    #: Connections ended by a fault: reset, finished, cut in the middle.
    resets: int = 0
    fins: int = 0
    cuts: int = 0
    #: Chunks that were held back by a delay or a throttle.
    delayed: int = 0


@dataclass(slots=True)
class _Pair:
    """One client's connection and its twin to the server."""

    client: socket.socket
    server: socket.socket
    #: Whether it is being closed: the end of one side is not passed on any more.
    ending: bool = False

    def end(self, *, reset: bool) -> None:
        """Close both, with RST or with FIN."""
        self.ending = True
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                else:
                    end.shutdown(socket.SHUT_WR)
            # A thread that blocks in recv() keeps the socket alive past close(): wake it first.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RD)
            end.close()


class ChaosProxy:
    """Listens on a free loopback port and passes on to `target` (host, port). Safe to use from any thread."""

    def __init__(self, target: tuple[str, int], port: int = 0) -> None:
        """Start listening, on `port` or any that is free."""
        self.counters = Counters()
        self._target = target
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._pairs: list[_Pair] = []
        self._black: frozenset[str] = frozenset()
        self._refusing = False
        self._delay = 0.0
        self._rate = 0.0
        self._cut: tuple[str, int] | None = None
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [self._thread(self._accept)]

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything."""
        self.close()

    def close(self) -> None:
        """Stop listening and end every connection."""
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._end_all(reset=True)
        for thread in self._threads:
            thread.join(timeout=5)

    @property
    def open(self) -> int:
        """How many connections are open."""
        with self._lock:
            return len(self._pairs)

    # -- modes -----------------------------------------------------------------------------------

    def pass_through(self) -> None:
        """Behave from now on. Bytes that a black hole took stay lost, so its connections are broken for good."""
        with self._lock:
            self._black, self._refusing, self._delay, self._rate, self._cut = (
                frozenset(),
                False,
                0.0,
                0.0,
                None,
            )

    def lead_to(self, target: tuple[str, int]) -> int:
        """End the open connections by RST, and take those to come to another server; return how many those were."""
        self._target = target
        return self.reset()

    def reset(self) -> int:
        """End the open connections by RST and return how many those were."""
        ended = self._end_all(reset=True)
        self.counters.resets += ended
        return ended

    def finish(self) -> int:
        """End the open connections by FIN and return how many those were."""
        ended = self._end_all(reset=False)
        self.counters.fins += ended
        return ended

    def refuse(self) -> int:
        """End the open connections by RST, and each new one as soon as it is made."""
        self._refusing = True
        return self.reset()

    def black_hole(self, *directions: str) -> None:
        """Swallow what goes in `directions`; in both where none is named."""
        self._black = frozenset(directions) or BOTH

    def delay(self, seconds: float) -> None:
        """Hold each chunk back for so long."""
        self._delay = seconds

    def throttle(self, bytes_per_second: float) -> None:
        """Pass on no more than so many bytes a second, in each direction of each connection."""
        self._rate = bytes_per_second

    def cut_after(self, number: int, direction: str) -> None:
        """Pass on `number` more bytes in `direction`, then end that connection by RST; once."""
        with self._lock:
            self._cut = (direction, number)

    # -- inside ----------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.counters.connections += 1
            self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            _Pair(client, client).end(reset=True)
            return
        server.settimeout(None)
        pair = _Pair(client, server)
        if self._refusing:
            pair.end(reset=True)
            self.counters.resets += 1
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs.append(pair)
        self._threads += [
            self._thread(self._pump, pair, client, server, UP),
            self._thread(self._pump, pair, server, client, DOWN),
        ]

    def _pump(self, pair: _Pair, source: socket.socket, sink: socket.socket, direction: str) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK):
                self._hold_back(len(chunk))
                if direction in self._black:
                    self.counters.swallowed[direction] += len(chunk)
                    continue
                chunk, cut = self._before_the_cut(chunk, direction)
                sink.sendall(chunk)
                self.counters.passed[direction] += len(chunk)
                if cut:
                    self.counters.cuts += 1
                    self._end(pair, reset=True)
                    return
            if pair.ending:
                return
            if direction not in self._black:
                sink.shutdown(socket.SHUT_WR)
                return
        self._end(pair, reset=True)

    def _hold_back(self, size: int) -> None:
        seconds = self._delay + (size / self._rate if self._rate else 0.0)
        if seconds:
            self.counters.delayed += 1
            self._stopped.wait(seconds)

    def _before_the_cut(self, chunk: bytes, direction: str) -> tuple[bytes, bool]:
        """Return what of `chunk` may still pass and whether the connection is to be cut after it."""
        with self._lock:
            if self._cut is None or self._cut[0] != direction:
                return chunk, False
            left = self._cut[1]
            if len(chunk) < left:
                self._cut = (direction, left - len(chunk))
                return chunk, False
            self._cut = None
            return chunk[:left], True

    def _end(self, pair: _Pair, *, reset: bool) -> None:
        with self._lock:
            if pair in self._pairs:
                self._pairs.remove(pair)
        pair.end(reset=reset)

    def _end_all(self, *, reset: bool) -> int:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.end(reset=reset)
        return len(pairs)

    def _thread(self, target: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        thread.start()
        return thread
