"""Turns the tracer on and off by what passes through the sockets and the databases of its process.

These bytes are the contract, so they are the same however the bridge is built. A command begins with the read that
brings its delivery and ends with the write of its Basic.Ack. A webhook begins with the read that brings its request and
ends once its answer is written and a change to a database is committed: that one remembers the webhook.
"""

from __future__ import annotations

import json
import re
import socket
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.path.tracer import Tracer

COMMAND, WEBHOOK = "command", "webhook"
#: A part of the id of a command or a message that is to be traced; each is traced once.
MARK = re.compile(rb"traced-(command|webhook)-\d+")
#: Class and method of Basic.Ack in a frame (AMQP 0-9-1, section 1.8.3.13).
ACK = b"\x00\x3c\x00\x50"
#: An answer that is no interim one.
ANSWER = re.compile(rb"HTTP/1\.1 [2-5]")
#: SQL that changes rows.
CHANGE = re.compile(r"\s*(INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)
COMMIT = re.compile(r"\s*(COMMIT|END)\b", re.IGNORECASE)
ROLLBACK = re.compile(r"\s*ROLLBACK\b", re.IGNORECASE)


class Window:
    """The time from the first bytes of a marked command or webhook to its end."""

    def __init__(self, tracer: Tracer, out: Path) -> None:
        """Append each recording to `out`, as a line of JSON."""
        self._tracer = tracer
        self._out = out
        self._seen: set[bytes] = set()
        self._kind = ""
        self._is_answered = self._is_remembered = False

    def install(self) -> None:
        """Watch all sockets and SQLite connections of this process."""
        # On the class, not in a subclass: a method may be looked up anywhere.
        kind: Any = socket.socket
        for name in ("recv", "recv_into"):
            setattr(kind, name, _reading(getattr(kind, name), self.read))
        for name in ("send", "sendall"):
            setattr(kind, name, _writing(getattr(kind, name), self.wrote))
        modules: tuple[Any, ...] = (sqlite3, sqlite3.dbapi2)
        for module in modules:
            module.connect = partial(_connect, module.connect, self.changed)

    def read(self, data: bytes) -> None:
        """Begin where `data` has a mark that was not there before."""
        if not self._kind and (mark := MARK.search(data)) and mark[0] not in self._seen:
            self._seen.add(mark[0])
            self._kind = mark[1].decode()
            self._is_answered = self._is_remembered = False
            self._tracer.calls = []
            self._tracer.is_on = True

    def wrote(self, data: bytes) -> None:
        """End the command that `data` acknowledges, or note that it answers the webhook."""
        if self._kind == COMMAND and ACK in data:
            self._end()
        elif self._kind == WEBHOOK and ANSWER.match(data):
            self._is_answered = True
            self._end_webhook()

    def changed(self) -> None:
        """Note that a change to a database is committed."""
        if self._kind == WEBHOOK:
            self._is_remembered = True
            self._end_webhook()

    def _end_webhook(self) -> None:
        if self._is_answered and self._is_remembered:
            self._end()

    def _end(self) -> None:
        self._tracer.is_on = False
        kind, self._kind = self._kind, ""
        with self._out.open("a") as out:
            out.write(json.dumps([kind, self._tracer.calls]) + "\n")


def _reading(method: Callable[..., Any], read: Callable[[bytes], None]) -> Callable[..., Any]:
    def receive(self: socket.socket, first: Any, *more: Any) -> Any:
        got = method(self, first, *more)
        read(got if isinstance(got, bytes) else bytes(first[:got]))
        return got

    return receive


def _writing(method: Callable[..., Any], wrote: Callable[[bytes], None]) -> Callable[..., Any]:
    def send(self: socket.socket, data: bytes, *more: Any) -> Any:
        wrote(bytes(data))
        return method(self, data, *more)

    return send


def watch_changes(connection: sqlite3.Connection, changed: Callable[[], None]) -> None:
    """Call `changed` with each commit of a transaction that changes rows."""
    is_changed = False

    def trace(statement: str) -> None:
        nonlocal is_changed
        is_changed = bool(CHANGE.match(statement) or (is_changed and not ROLLBACK.match(statement)))
        # A statement outside a transaction commits itself.
        if is_changed and (COMMIT.match(statement) or not connection.in_transaction):
            is_changed = False
            changed()

    connection.set_trace_callback(trace)


def _connect(
    method: Callable[..., sqlite3.Connection], changed: Callable[[], None], *args: Any, **named: Any
) -> sqlite3.Connection:
    connection = method(*args, **named)
    watch_changes(connection, changed)
    return connection
