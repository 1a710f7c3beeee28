"""The accepted sends, each written down before it is answered, so that duplicates are counted and not guessed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, BinaryIO, TypedDict

if TYPE_CHECKING:
    from pathlib import Path


class Entry(TypedDict):
    """One accepted send (SPEC section 9)."""

    message_id: str
    destination_address: str
    sender_address: str
    message: str
    #: Milliseconds since the epoch.
    accepted_at: int


class Journal:
    """The entries in order, in memory and, where a path is given, in a file of JSON lines."""

    def __init__(self, path: Path | None = None) -> None:
        self.entries: list[Entry] = []
        self._file: BinaryIO | None = None
        if path is not None:
            self._file = path.open("a+b")
            self._read()

    def add(self, entry: Entry) -> None:
        """Write `entry` down; when this returns, the end of this process can't lose it.

        Raises:
            OSError: it could not be written, and is not accepted.

        """
        if self._file is not None:
            self._file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
        self.entries.append(entry)

    def clear(self) -> None:
        """Forget all entries, in the file too."""
        self.entries.clear()
        if self._file is not None:
            self._file.truncate(0)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> None:
        """Take up what an earlier process accepted; a line it died in was never answered, and goes."""
        assert self._file is not None  # noqa: S101 - for the type checker
        self._file.seek(0)
        whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                self._file.truncate(whole)
                break
            self.entries.append(json.loads(line))
            whole += len(line)
