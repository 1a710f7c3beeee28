"""The common part of all publishers and consumers: a link of their own, which others start, stop and watch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.adapters.amqp.connection_thread import ConnectionThread, Handler

if TYPE_CHECKING:
    from bridge.adapters.amqp.connection_thread import ConnectionOptions


class ConnectionOwner(Handler):
    """Does its work on the connection of its link, on the link's thread."""

    def __init__(self, options: ConnectionOptions) -> None:
        self._clock = options.clock
        self._connection = ConnectionThread(options, self)

    def start(self) -> None:
        """Begin to connect."""
        self._connection.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Do the work that is left and close the connection, within `timeout` seconds; what is open then stays so."""
        self._connection.stop(timeout)

    @property
    def iterations(self) -> int:
        """How often the link's thread went round."""
        return self._connection.iterations

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._connection.connected

    @property
    def blocked(self) -> bool:
        """Whether the broker has blocked us: an alarm of memory or disk."""
        return self._connection.blocked
