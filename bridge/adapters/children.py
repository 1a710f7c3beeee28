"""Child processes that do not outlive this one, and both ends of their control pipe.

Between parent and child is a pair of sockets, the child's standard input. The parent writes one line, with
the child's settings; the child writes one, with the port on which it listens. Later the parent writes one byte to end
the child, or the kernel closes the socket because the parent has ended.
"""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Variables of the service manager for the process that it started. A child must not report in the service's name.
MANAGERS_OWN = frozenset({"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"})


class Child:
    """A child as its parent has it: a new interpreter, not a fork of this one and its threads."""

    def __init__(self, module: str, *arguments: str, line: str, environ: Mapping[str, str]) -> None:
        """Start `python -m module arguments` and write `line` to it; `environ` is ours.

        Raises:
            OSError: it can't be started.

        """
        self._ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    # -P: the working directory must not shadow our modules.
                    [sys.executable, "-P", "-m", module, *arguments],
                    stdin=theirs.fileno(),
                    env={name: value for name, value in environ.items() if name not in MANAGERS_OWN},
                )
            except OSError:
                self._ours.close()
                raise
        # One that has ended already is waited for like any other.
        with contextlib.suppress(OSError):
            self._ours.sendall(line.encode() + b"\n")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_listening(self, timeout: float) -> int | None:
        """Wait until it says on which port it listens; None where it ended before.

        Raises:
            TimeoutError: it has said nothing for `timeout` seconds.

        """
        # poll rather than select: a process with many files has descriptors above 1023.
        said_something = select.poll()
        said_something.register(self._ours, select.POLLIN)
        if not said_something.poll(timeout * 1000):
            raise TimeoutError
        # The child writes one short line, which arrives whole.
        with self._ours.makefile("rb") as said:
            port = _line_of(said)
        return int(port) if port else None

    def wait(self) -> int:
        """Wait for its end and return the exit code, negative for a signal."""
        code = self._process.wait()
        self._ours.close()
        return code

    def end(self) -> None:
        """Ask the child to end in order."""
        # By no signal: a terminal or a service manager may have sent one to the whole group, and two that coincide can
        # be lost on a thread that does not handle them, or be taken for a second request.
        with contextlib.suppress(OSError):
            self._ours.sendall(b"\n")

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()


class ControlPipe:
    """The child's end, on its standard input."""

    def __init__(self, descriptor: int = 0) -> None:
        self._socket = socket.socket(fileno=descriptor)
        # The buffer keeps bytes that arrive with the line or after it.
        self._said = self._socket.makefile("rb")

    def line(self) -> str | None:
        """Return the parent's first line; None if the parent has ended already."""
        return _line_of(self._said)

    def report(self, port: int) -> None:
        """Say on which port this process listens."""
        # Whether the parent is still there is `wait_end`'s to find out.
        with contextlib.suppress(OSError):
            self._socket.sendall(f"{port}\n".encode())

    def wait_end(self) -> bool:
        """Wait until this process is to end; return whether the parent said so, and is not gone."""
        try:
            return self._said.read(1) != b""
        except OSError:
            return False


def _line_of(said: BinaryIO) -> str | None:
    """Return a whole line of what the other side says, without its end; None where it is gone before."""
    try:
        line = said.readline()
    except OSError:
        return None
    return line[:-1].decode() if line.endswith(b"\n") else None
