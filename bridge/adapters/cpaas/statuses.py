"""What became of messages, as whoever asks for receipts sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.ports import ArchiveUnavailable
from bridge.ports.provider_errors import CallRefused, CpaasError, Unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.adapters.cpaas.history import MessageHistory
    from bridge.domain.receipts import Pair


class CpaasStatuses:
    """Fills the port `Statuses`.

    A refusal or an answer that can't be read is about that message, and tells nothing; neither does an id or a number
    that makes no path (ValueError), `..` for one, whoever gave it to us.
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
