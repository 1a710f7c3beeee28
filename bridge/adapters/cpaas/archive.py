"""The provider's message history, as the backfill and the receipt poller read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.ports import ArchiveUnavailable
from bridge.ports.provider_errors import CallRefused, CpaasError, Unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.adapters.cpaas.history import MessageHistory
    from bridge.domain.history import KeptMessage, KeptThread
    from bridge.domain.receipts import Pair


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

        If the whole thread is not available, the result of `lastMessageTime` is read too: it may show more, and proves
        nothing. A thread whose numbers do not fit into a path, such as `..`, can never be read.
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


class CpaasStatuses:
    """Fills the port `Statuses`.

    A refusal or an unreadable response concerns only that message and leaves its status unknown. The same applies to an
    id or a number that does not fit into a path (ValueError), such as `..`.
    """

    def __init__(self, history: MessageHistory) -> None:
        self._history = history

    def of_message(self, pair: Pair, message_id: str, *, until: float) -> str | None:
        """Return the status of a message; see `bridge.ports.Statuses`."""
        try:
            return self._history.status(pair.remote_address, pair.local_address, message_id, until=until)
        except (CallRefused, Unreadable, ValueError):
            return None
        except CpaasError as e:
            raise ArchiveUnavailable(str(e)) from e

    def of_thread(self, pair: Pair, *, until: float) -> Mapping[str, str | None]:
        """Return the statuses of a thread's first messages; see `bridge.ports.Statuses`."""
        try:
            messages = self._history.listed_first(pair.remote_address, pair.local_address, until=until)
        except (CallRefused, Unreadable, ValueError):
            return {}
        except CpaasError as e:
            raise ArchiveUnavailable(str(e)) from e
        return {message.message_id: message.status for message in messages}
