"""The port to the provider's message history: threads, messages and their delivery statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.domain.history import KeptMessage, KeptThread
    from bridge.domain.receipts import Pair


class Archive(Protocol):
    """The provider's message history, for backfill. Calls block the calling thread."""

    def threads(self) -> tuple[Sequence[KeptThread], bool]:
        """Return the threads, and whether the list is complete.

        Raises:
            ArchiveUnavailable: the history cannot be read now.

        """
        ...

    def messages(self, thread: KeptThread, since: float) -> tuple[Sequence[KeptMessage], bool]:
        """Return the thread's messages, and whether they are complete from `since` (seconds since the epoch) on.

        Raises:
            ArchiveUnavailable: the history cannot be read now.

        """
        ...


class Statuses(Protocol):
    """The delivery statuses of messages. Calls block the calling thread until `until` (`Clock.monotonic` seconds).

    A status is in the provider's spelling, or None if the provider has none.
    """

    def of_message(self, pair: Pair, message_id: str, *, until: float) -> str | None:
        """Return the status of a message, with one call.

        Raises:
            ArchiveUnavailable: the provider cannot be called now.

        """
        ...

    def of_thread(self, pair: Pair, *, until: float) -> Mapping[str, str | None]:
        """Return the statuses of the messages on the thread's first page, by their ids, with one call.

        Raises:
            ArchiveUnavailable: the provider cannot be called now.

        """
        ...


class ArchiveUnavailable(Exception):
    """The provider's history cannot be read now; the text may be logged."""
