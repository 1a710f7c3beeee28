"""The provider's history as catching up sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.ports import ArchiveUnavailable
from bridge.ports.provider_errors import CpaasError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.adapters.cpaas.history import MessageHistory
    from bridge.domain.history import KeptMessage, KeptThread


class CpaasArchive:
    """Fills the port `Archive`."""

    def __init__(self, history: MessageHistory) -> None:
        self._history = history

    def threads(self) -> tuple[Sequence[KeptThread], bool]:
        """Return all threads; see `bridge.ports.Archive`."""
        try:
            listed = self._history.threads()
        except CpaasError as e:
            raise ArchiveUnavailable(str(e)) from e
        return listed.threads, listed.ended

    def messages(self, thread: KeptThread, since: float) -> tuple[Sequence[KeptMessage], bool]:
        """Return a thread's messages; see `bridge.ports.Archive`.

        Where the whole thread is not to be had, what `lastMessageTime` leaves of it is read too: it may show more, and
        proves nothing. A thread whose numbers make no path, `..` for one, can't be asked for, today or later.
        """
        remote, local = thread.remote_address, thread.local_address
        try:
            whole = self._history.messages(remote, local)
            if whole.complete and (whole.exists or thread.length == 0):
                return whole.messages, True
            rest = self._history.messages(remote, local, last_message_time=int(since * 1000))
        except CpaasError as e:
            raise ArchiveUnavailable(str(e)) from e
        except ValueError:
            return (), False
        return (*whole.messages, *rest.messages), False
