"""What the provider keeps and can tell of: threads, messages, and how they were delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.core.receipts import Pair


class KeptThread(Protocol):
    """The messages between a number of ours and another one, as the provider lists them."""

    @property
    def remote_address(self) -> str: ...
    @property
    def local_address(self) -> str: ...
    @property
    def last_message_at(self) -> float | None: ...
    @property
    def length(self) -> int | None: ...


class KeptMessage(Protocol):
    """A message as the provider keeps it. `at` is `date_time` in seconds since the epoch, where it can be told."""

    @property
    def message_id(self) -> str: ...
    @property
    def direction(self) -> str: ...
    @property
    def text(self) -> str | None: ...
    @property
    def remote_address(self) -> str: ...
    @property
    def local_address(self) -> str: ...
    @property
    def date_time(self) -> object: ...
    @property
    def at(self) -> float | None: ...


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
