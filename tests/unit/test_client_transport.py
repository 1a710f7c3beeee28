"""The socket's side of a connection."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, cast

from bridge.adapters.http.server.transport import ClientTransport

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


class LostTransport:
    """A transport whose client has gone, before asyncio knows."""

    max_size = 0

    def __init__(self) -> None:
        self.calls: list[str] = []

    def get_extra_info(self, _name: str) -> None:
        return None

    def set_write_buffer_limits(self, _high: int) -> None:
        self.calls.append("limits")

    def is_closing(self) -> bool:
        return False

    def write_eof(self) -> None:
        raise OSError(errno.ENOTCONN, "not connected")

    def resume_reading(self) -> None:
        self.calls.append("reads")


def test_close_reads_the_loss_of_a_client_that_has_gone() -> None:
    transport = LostTransport()
    ClientTransport(transport, cast("AbstractEventLoop", None), timeout=1.0).close(is_unconsumed=True)

    assert transport.calls == ["limits", "reads"]
