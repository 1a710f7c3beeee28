"""What the provider keeps and can tell of: threads, messages, and how they were delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.domain.history import KeptMessage, KeptThread
    from bridge.domain.receipts import Pair


class Archive(Protocol):
    """The provider's message history, as far as catching up goes. Blocks the calling thread."""

    def threads(self) -> tuple[Sequence[KeptThread], bool]:
        """Return the threads, and whether these are all.

        Raises:
            ArchiveUnavailable: they can't be had now.

        """
        ...

    def messages(self, thread: KeptThread, since: float) -> tuple[Sequence[KeptMessage], bool]:
        """Return the thread's messages, and whether none from `since` (seconds since the epoch) on may be missing.

        Raises:
            ArchiveUnavailable: they can't be had now.

        """
        ...


class Statuses(Protocol):
    """What the provider says became of messages. Blocks the calling thread, until `until` (`Clock.monotonic` seconds).

    A status is in the provider's words, or None where it has none to tell.
    """

    def of_message(self, pair: Pair, message_id: str, *, until: float) -> str | None:
        """Return the status of a message, by one call.

        Raises:
            ArchiveUnavailable: the provider can't be asked now.

        """
        ...

    def of_thread(self, pair: Pair, *, until: float) -> Mapping[str, str | None]:
        """Return the statuses of the messages that the thread lists first, by their ids, by one call.

        Raises:
            ArchiveUnavailable: the provider can't be asked now.

        """
        ...


class ArchiveUnavailable(Exception):
    """The provider's history can't be had now; the text may be logged."""
