"""Connection of a child process to its parent: one line each way, and then the end."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.children import Child, ControlPipe

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def parent() -> Iterator[tuple[socket.socket, ControlPipe]]:
    """Return the parent's end and the child's."""
    ours, theirs = socket.socketpair()
    control_pipe = ControlPipe(theirs.detach())
    with ours, control_pipe._socket, control_pipe._said:
        yield ours, control_pipe


def test_message_of_the_parent_in_one_piece_is_read(parent: tuple[socket.socket, ControlPipe]) -> None:
    ours, control_pipe = parent
    ours.sendall(b"{}\n\n")

    assert control_pipe.line() == "{}"
    assert control_pipe.wait_end()


def test_end_of_the_parent_is_not_a_stop_message(parent: tuple[socket.socket, ControlPipe]) -> None:
    ours, control_pipe = parent
    ours.sendall(b"{}\n")
    # Unread data turns the close into a reset.
    control_pipe.report(1111)
    ours.close()

    assert control_pipe.line() in {"{}", None}
    assert not control_pipe.wait_end()
    control_pipe.report(2222)


def test_incomplete_line_is_ignored(parent: tuple[socket.socket, ControlPipe]) -> None:
    ours, control_pipe = parent
    ours.sendall(b"{")
    ours.close()

    assert control_pipe.line() is None


def test_child_returns_its_port_and_its_exit_code() -> None:
    child = Child("tests.unit.listening_child", "3", line="11", environ=dict(os.environ))

    assert child.wait_listening(10) == 1100

    child.end()

    assert child.wait() == 3
    child.end()


def test_child_that_ends_at_once_has_no_port() -> None:
    child = Child("no.such.module", line="{}", environ=dict(os.environ))

    assert child.wait_listening(10) is None
    assert child.wait() == 1


def test_silent_child_is_waited_for_a_limited_time() -> None:
    child = Child("tests.unit.listening_child", "silent", line="11", environ=dict(os.environ))

    with pytest.raises(TimeoutError):
        child.wait_listening(0.01)

    child.kill()

    assert child.wait() == -signal.SIGKILL


def test_variables_of_the_service_manager_are_not_passed_to_the_child() -> None:
    environ = {**os.environ, "NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "1"}
    child = Child("tests.unit.listening_child", "environment", line="11", environ=environ)

    assert child.wait_listening(10) == 1100

    child.end()

    assert child.wait() == 0
