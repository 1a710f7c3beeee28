"""Compares the ledger with what the broker knows: a worker with another one, or with an old copy, must not send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog
from amqp.exceptions import AccessRefused, NotFound

from bridge.adapters.amqp.calling import connected
from bridge.adapters.amqp.link import LinkDown
from bridge.adapters.amqp.notes import LedgerMismatch, Notes, exchange_of, mark_of
from bridge.core.errors import BridgeError
from bridge.core.lineage import Outdated, Succeeded, Unmarked, later_than
from bridge.ports import LedgerUnavailable, LedgerUnusable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.opening import BrokerAddress
    from bridge.adapters.amqp.topology import Topology
    from bridge.core.lineage import Lineage, Remembered


class QueueInUse(BridgeError):
    """Workers consume the command queue."""


class MarkedLedger(Protocol):
    """The ledger of this process. All methods but `confirm` raise LedgerUnavailable."""

    @property
    def identity(self) -> str:
        """The name that it shares with its copies."""
        ...

    def recall(self) -> tuple[Lineage | None, Remembered | None]:
        """Return the lineage that it has now, and the one that it remembers."""
        ...

    def remember(self, own: Lineage, *, is_marked: bool) -> None:
        """Note its lineage, and whether the broker has the mark of it."""
        ...

    def restore(self, own: Lineage, *, is_marked: bool, max_age: float) -> None:
        """Note the same, and that the ledger is an earlier state of itself."""
        ...

    def confirm(self, own: Lineage | None) -> None:
        """Have it used as long as it has this lineage."""
        ...


class LedgerMark:
    """Compares the ledger of this process with the notes on the broker. Used by the link's thread, `moved` aside."""

    def __init__(self, ledger: MarkedLedger, *, max_age: float, mistaken: Callable[[str], None]) -> None:
        """`max_age` is how many seconds a call matters that the ledger has lost.

        `mistaken` is called with the reason where the process must not use the ledger.
        """
        self._ledger = ledger
        self._max_age = max_age
        self._mistaken = mistaken
        self._own: Lineage | None = None
        #: Whether it is to be compared again: the ledger has moved, or its mark is gone.
        self._is_due = False
        self._channel: Any = None
        self._log = structlog.get_logger()

    def compare(self, broker: Broker, topology: Topology, *, declares: bool) -> None:
        """Note this ledger where none is noted, and have it used.

        Raises:
            LedgerMismatch: another one is, or a later copy of this one.
            ConnectionError: the ledger can't be read.

        """
        self._is_due = False
        notes = Notes(broker, topology, self._ledger.identity)
        try:
            self._own = self._judge(notes, declares=declares)
        except (LedgerMismatch, LedgerUnusable) as e:
            self._mistaken(str(e))
            raise LedgerMismatch(str(e)) from e
        except LedgerUnavailable as e:
            raise ConnectionError(f"the ledger can't be compared with the broker: {e}") from e
        self._ledger.confirm(self._own)
        if not self._may_ask(broker):
            self._channel = broker.channel()

    def compare_again(self, broker: Broker, topology: Topology, *, declares: bool) -> None:
        """Do so where the ledger has moved, or its mark is gone.

        Raises:
            LinkDown: another ledger is noted, or a later copy of this one.
            ConnectionError: the ledger can't be read.

        """
        if self._is_due:
            try:
                self.compare(broker, topology, declares=declares)
            except LedgerMismatch as e:
                raise LinkDown(str(e)) from e

    def moved(self) -> None:
        """Have it compared again. From any thread."""
        self._is_due = True

    def ask(self, broker: Broker, topology: Topology) -> None:
        """Ask whether the mark is still there, and wait for nothing: without it all is compared again."""
        if self._own is not None and self._may_ask(broker):
            name = mark_of(topology, self._ledger.identity, self._own)
            broker.ask_for_exchange(self._channel, name, self.moved)

    def _may_ask(self, broker: Broker) -> bool:
        """Whether its channel is of this connection, and the broker has not closed it."""
        channel = self._channel
        return channel is not None and channel.connection is broker.connection and channel.is_open

    def _judge(self, notes: Notes, *, declares: bool) -> Lineage | None:
        """Return the lineage of a ledger that is valid, with all noted that is to be."""
        own, remembered = self._ledger.recall()
        is_known, is_marked = notes.is_known(), False
        if is_known:
            self._identify(notes, declares=declares)
        standing = notes.judge(own, remembered, is_known=is_known)
        if isinstance(standing, Outdated):
            raise LedgerMismatch(
                f"the ledger is in an old copy of its database, {own}: workers have used a newer one since. Point "
                "ledger.url to the new primary, and stop the old one or make it a standby; if the new one is gone for "
                "good, stop all workers and run `bridge ledger adopt`"
            )
        if own is not None and isinstance(standing, Unmarked | Succeeded):
            is_marked = self._mark(notes, own, declares=declares)
        if isinstance(standing, Succeeded) and is_marked:
            # Not before its own is there: no crash may leave the ledger without a mark.
            notes.remove(standing.before)
        if own is not None and isinstance(standing, Succeeded):
            self._ledger.restore(own, is_marked=is_marked, max_age=self._max_age)
            self._log.warning(
                "ledger.restored",
                lineage=str(own),
                before=str(remembered.lineage) if remembered else None,
                hint="a failover or a restore: ids that the ledger does not know are looked up with the provider",
            )
        elif own is not None and isinstance(standing, Unmarked):
            self._ledger.remember(own, is_marked=is_marked)
        if not is_known:
            # The last: a ledger that is known and has no mark is an old copy.
            self._identify(notes, declares=declares)
        return own

    def _identify(self, notes: Notes, *, declares: bool) -> None:
        try:
            notes.identify()
        except AccessRefused:
            if declares:
                raise
            # Whoever declares nothing may have no right to; then nobody can compare.
            self._log.warning(
                "ledger.not_compared",
                exchange=notes.exchange,
                hint="give the user the right to configure it",
            )

    def _mark(self, notes: Notes, own: Lineage, *, declares: bool) -> bool:
        try:
            notes.mark(own)
        except AccessRefused:
            if declares:
                raise
            self._log.error(
                "ledger.not_marked",
                exchange=notes.mark_of(own),
                hint="give the user the right to configure it: without it a worker may use an old primary",
            )
            return False
        return True


def adopt(
    address: BrokerAddress,
    topology: Topology,
    identity: str,
    lineage: Lineage | None,
    record: Callable[[bool], None],
) -> None:
    """Note the ledger, and its lineage if it has one, in place of the noted ledger and of its later copies.

    `record` is called before that, once it is certain that no worker consumes, with whether the broker has this ledger.

    Raises:
        QueueInUse: workers consume the command queue, so they have the ledger that is noted.
        ConnectionError: the broker is not reachable or refuses.

    """
    with connected(address) as broker:
        consumers = _consumers(broker, topology.command_queue)
        if consumers:
            raise QueueInUse(
                f"the queue {topology.command_queue} has {consumers} consumers: stop all workers first, "
                "they have the ledger that is noted on the broker"
            )
        notes = Notes(broker, topology, identity)
        record(_has(notes))
        if lineage is not None:
            notes.mark(lineage)
            notes.remove(later_than(lineage))
        channel = broker.channel()
        channel.exchange_delete(exchange_of(topology))
        channel.close()
        notes.identify()


def _has(notes: Notes) -> bool:
    """Return whether the broker has this ledger, whichever copy of it."""
    try:
        if notes.is_known():
            notes.identify()
            return True
    except LedgerMismatch:
        return False
    return False


def _consumers(broker: Broker, queue: str) -> int:
    """Return how many consumers a queue has; none where there is no queue yet."""
    channel = broker.channel()
    try:
        found = channel.queue_declare(queue, passive=True)
    except NotFound:
        return 0
    channel.close()
    return int(found.consumer_count)
