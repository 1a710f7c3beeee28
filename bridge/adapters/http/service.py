"""What a connection asks: whether a request is answered by its head, and its answer once it is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.http.answers import Answer
    from bridge.adapters.http.parsing import Request


class Service(Protocol):
    """What is asked. Called on the event loop; must not block."""

    #: Bytes of a body, and seconds from the head to its last byte.
    max_body: int
    body_timeout: float
    #: For whom there is no more time: the server ends.
    not_now: Answer

    def look(self, request: Request) -> Answer | None:
        """Answer a request by its head, or have its body read."""
        ...

    def handle(self, request: Request, answer: Callable[[Answer], None]) -> None:
        """Answer a request that is whole, now or later, once."""
        ...

    def refused(self, request: Request, status: int) -> None:
        """Take note of a request whose body was not read to its end."""
        ...
