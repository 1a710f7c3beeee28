"""Bytes that a connection was sent ahead of its turn."""

from __future__ import annotations

#: How a head ends; some of its first lines may end without a carriage return. A chunked body ends so, too.
_HEAD_ENDS = b"\n\r\n"


def may_be_several(data: bytes) -> bool:
    """Return whether these bytes may hold more than one request, or the end of one and another."""
    return data.count(_HEAD_ENDS) > 1


class Held:
    """Bytes that wait, and are taken piece by piece: the parser can't be stopped within a piece."""

    __slots__ = ("_data", "_taken")

    def __init__(self) -> None:
        self._data = b""
        self._taken = 0

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self._taken < len(self._data)

    def add(self, data: bytes) -> None:
        """Put some behind the others."""
        self._data = self._data[self._taken :] + data
        self._taken = 0

    def take(self, body: int, heads: int) -> bytes:
        """Return the next `body` bytes; with a `body` of 0, what ends with the next `heads` heads, or all."""
        end = self._taken + body
        if not body:
            for _ in range(heads):
                end = self._data.find(_HEAD_ENDS, end) + len(_HEAD_ENDS)
                if end < len(_HEAD_ENDS):
                    end = len(self._data)
                    break
        piece, self._taken = self._data[self._taken : end], end
        if not self:
            self.drop()
        return piece

    def drop(self) -> None:
        """Forget all."""
        self._data, self._taken = b"", 0
