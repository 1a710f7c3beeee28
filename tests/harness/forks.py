"""Forks of a process that has imported the bridge: they save most of the processor time of a child.

This file is also that process, the server. Each test process starts one, with its first child. The server has one
thread. For each child it receives a command line, an environment, a directory and three streams. It forks, sends back
the child's process id, and later the exit code. The child has a session, an environment, streams and signal handlers
as an executed one has, no other open file, and it ends as an interpreter does.

A fork does not show how an interpreter starts, in which order it imports modules, and how much memory they take.
These children are therefore executed:

- `bridge up`, whose own children are executed in any case;
- the children of a test with the mark `executed`: one worker and one ingest with all that they do, and each child whose
  memory, memory map, command line or inherited limits the test reads;
- a child with another environment than the server, except for `BRIDGE_` variables: the interpreter, its libraries and
  the dynamic linker read theirs at their start;
- every child of `make faults`, of `make faults-cluster` and of the benchmarks, and every child on a system without
  `pidfd_open`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What SQLAlchemy imports by its name, once a ledger is opened.
LATE = ("psycopg", "sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite.pysqlite")
#: A process id or an exit code, as the server sends it.
NUMBER = struct.Struct("i")
#: Bytes that a request may have.
LARGEST = 200_000
BRIDGE = str(Path(sys.executable).with_name("bridge"))


class ServerEnded(Exception):
    """The server has ended before the tests."""


class Forked:
    """A child of the server, with what the tests use of `subprocess.Popen`."""

    def __init__(self, end: int) -> None:
        """Take over `end`, from which the child's process id and later its exit code can be read."""
        self._end, self._reading = end, threading.Lock()
        self.pid = self._number()
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for the end, `timeout` seconds at most, and return the exit code."""
        ended = select.poll()
        ended.register(self._end, select.POLLIN)
        if self.returncode is None and not ended.poll(timeout * 1000):
            raise subprocess.TimeoutExpired(BRIDGE, timeout)
        with self._reading:
            if self.returncode is None:
                self.returncode = self._number()
                os.close(self._end)
            return self.returncode

    def _number(self) -> int:
        sent = os.read(self._end, NUMBER.size)
        if not sent:
            raise ServerEnded
        number: int = NUMBER.unpack(sent)[0]
        return number


class Server:
    """The process that forks, as the tests see it. It ends with them."""

    #: The server of this test process, once there is one.
    running: Server | None = None
    #: Whether the children of the current test may be forks.
    allowed = False
    #: Tests start children in several threads.
    _starting = threading.Lock()

    def __init__(self, env: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # None of its streams can seek, like the pipes that take their place: Python asks for that once.
            self._process = subprocess.Popen(
                [sys.executable, __file__], env=env, stdin=theirs.fileno(), stdout=theirs.fileno(),
                stderr=subprocess.PIPE, text=True, start_new_session=True,
            )  # fmt: skip

    def stop(self) -> None:
        """End it, and wait for its end."""
        self._control.close()
        self._process.communicate(timeout=10)

    @classmethod
    def of(cls, command: Sequence[str], env: Mapping[str, str], usual: Mapping[str, str]) -> Server | None:
        """Return the server that forks `command`, with the environment `usual`; None where it has to be executed."""
        can = hasattr(os, "fork") and hasattr(os, "pidfd_open")
        if not (can and cls.allowed and command[0] == BRIDGE) or "up" in command[1:2]:
            return None
        common = {name: value for name, value in env.items() if not name.startswith("BRIDGE_")}
        if common != usual:
            return None
        with cls._starting:
            cls.running = cls.running or cls(usual)
        return cls.running

    def fork(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path, streams: Sequence[int]
    ) -> Forked:
        """Start a child with copies of `streams`, the descriptors of its stdin, stdout and stderr.

        Raises:
            ServerEnded: with what the server wrote at its end.

        """
        ours, theirs = os.pipe()
        request = json.dumps([list(command), dict(env), str(cwd)]).encode()
        try:
            with suppress(ConnectionError):
                socket.send_fds(self._control, [request], [*streams, theirs])
            os.close(theirs)
            return Forked(ours)
        except ServerEnded:
            raise ServerEnded(self._process.communicate(timeout=10)[1]) from None

    def run(
        self, command: Sequence[str], env: Mapping[str, str], stdin: str, timeout: float
    ) -> tuple[int, str, str]:
        """Run a child to its end and return its exit code, its stdout and its stderr."""
        (in_, to), (from_out, out), (from_err, err) = os.pipe(), os.pipe(), os.pipe()
        child = self.fork(command, env, Path.cwd(), (in_, out, err))
        for theirs in (in_, out, err):
            os.close(theirs)
        with ThreadPoolExecutor(3) as pool, os.fdopen(from_out) as stdout, os.fdopen(from_err) as stderr:
            said = pool.submit(stdout.read), pool.submit(stderr.read)
            pool.submit(_write, to, stdin)
            try:
                code = child.wait(timeout)
            except BaseException:
                os.killpg(child.pid, signal.SIGKILL)
                raise
            return code, said[0].result(), said[1].result()


def _write(descriptor: int, text: str) -> None:
    """Write `text` and its end to a pipe whose reader may have ended."""
    with suppress(BrokenPipeError), os.fdopen(descriptor, "w") as stream:
        stream.write(text)


def preload() -> None:
    """Import all of the bridge, and what it imports late."""
    bridge = importlib.import_module("bridge")
    for module in pkgutil.walk_packages(bridge.__path__, "bridge."):
        # Only Alembic can import these.
        if ".migrations." not in module.name:
            importlib.import_module(module.name)
    for name in LATE:
        importlib.import_module(name)
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        raise SystemExit(
            "tests/harness/forks.py: an import started a thread, which a fork would lack: start it later"
        )
    # A child's garbage collector would write to, and so copy, each page of what is here.
    gc.collect()
    gc.freeze()


def serve(control: socket.socket) -> list[str]:
    """Fork for each request. Return the command line in each child, and never in the server."""
    children: dict[int, tuple[int, int]] = {}
    ready = select.poll()
    ready.register(control, select.POLLIN)
    while True:
        for descriptor, _ in ready.poll():
            if descriptor in children:
                pid, end = children.pop(descriptor)
                ready.unregister(descriptor)
                os.close(descriptor)
                answer(end, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(end)
                continue
            request, passed, _, _ = socket.recv_fds(control, LARGEST, 4)
            if not request:
                os._exit(0)
            *streams, end = passed
            pid = os.fork()
            if pid == 0:
                os.setsid()
                answer(end, os.getpid())
                control.detach()
                return become(request, streams)
            for stream in streams:
                os.close(stream)
            watch = os.pidfd_open(pid)
            children[watch] = pid, end
            ready.register(watch, select.POLLIN)


def answer(end: int, number: int) -> None:
    """Send a number to the tests, unless they have ended."""
    with suppress(BrokenPipeError):
        os.write(end, NUMBER.pack(number))


def become(request: bytes, streams: Sequence[int]) -> list[str]:
    """Turn this fork into what was asked for, and return its command line."""
    command, env, cwd = json.loads(request)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    return [str(argument) for argument in command]


if __name__ == "__main__":
    # As an executed `bridge` has it. The directory of this file must not be searched for modules.
    sys.path[0] = str(Path(BRIDGE).parent)
    preload()
    sys.argv = serve(socket.socket(fileno=0))
    sys.exit(importlib.import_module("bridge.cli").main())
