"""Bytes that a connection was sent ahead of its turn."""

from __future__ import annotations

#: How a head ends; some of its first lines may end without a carriage return. A chunked body ends so, too.
HEAD_ENDS = b"\n\r\n"


class Held:
    """Bytes that wait, and are taken piece by piece: the parser can't be stopped within a piece."""

    __slots__ = ("_data", "_taken", "any")

    def __init__(self) -> None:
        self._data = b""
        self._taken = 0
        #: Whether there are any.
        self.any = False

    def add(self, data: bytes) -> None:
        """Put some behind the others."""
        self._data = self._data[self._taken :] + data
        self._taken = 0
        self.any = bool(self._data)

    def take(self, body: int, heads: int) -> bytes:
        """Return the next `body` bytes; with a `body` of 0, what ends with the next `heads` heads, or all."""
        end = self._taken + body
        if not body:
            for _ in range(heads):
                end = self._data.find(HEAD_ENDS, end) + len(HEAD_ENDS)
                if end < len(HEAD_ENDS):
                    end = len(self._data)
                    break
        piece, self._taken = self._data[self._taken : end], end
        if end >= len(self._data):
            self.drop()
        return piece

    def drop(self) -> None:
        """Forget all."""
        self._data, self._taken, self.any = b"", 0, False
