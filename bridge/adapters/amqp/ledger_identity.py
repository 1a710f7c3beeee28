"""Compares the ledger with what the broker knows: a worker with another one, or with an old copy, must not send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog
from amqp.exceptions import AccessRefused

from bridge.adapters.amqp.connection_thread import ConnectionDown
from bridge.adapters.amqp.ledger_notes import LedgerMismatch, Notes
from bridge.domain.lineage import Outdated, Recognized, Succeeded, Unmarked
from bridge.ports import LedgerUnavailable, LedgerUnusable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.topology import Topology
    from bridge.domain.lineage import Lineage, Remembered


class MarkedLedger(Protocol):
    """The ledger of this process. All methods but `confirm` raise LedgerUnavailable."""

    @property
    def identity(self) -> str:
        """The name that it shares with its copies, as of the last `recall`."""
        ...

    def recall(self) -> tuple[Lineage | None, Remembered | None]:
        """Return the lineage that it has now, and the one that it remembers; read its name."""
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


class LedgerIdentity:
    """Compares the ledger of this process with the notes on the broker. Used by the link's thread, `moved` aside."""

    def __init__(self, ledger: MarkedLedger, *, max_age: float, mistaken: Callable[[str], None]) -> None:
        """`max_age` is how many seconds a call matters that the ledger has lost.

        `mistaken` is called with the reason where the process must not use the ledger.
        """
        self._ledger = ledger
        self._max_age = max_age
        self._mistaken = mistaken
        #: Exchanges on the broker that go where the ledger is valid no longer.
        self._lasting: tuple[str, ...] = ()
        #: Whether it is to be compared again: the ledger has moved, or its mark is gone.
        self.is_due = False
        self._channel: Any = None
        self._log = structlog.get_logger()

    def compare(self, broker: Broker, topology: Topology, *, declares: bool) -> None:
        """Note this ledger where none is noted, and have it used.

        Raises:
            LedgerMismatch: another one is, or a later copy of this one.
            ConnectionError: the ledger can't be read.

        """
        self.is_due = False
        try:
            own, remembered = self._ledger.recall()
            notes = Notes(broker, topology, self._ledger.identity)
            is_marked = self._judge(notes, own, remembered, declares=declares)
            identities = (notes.identity_of(own),) if own is not None and is_marked else ()
            self._lasting = (*self._names(notes, declares=declares), *identities)
        except (LedgerMismatch, LedgerUnusable) as e:
            self._mistaken(str(e))
            raise LedgerMismatch(str(e)) from e
        except LedgerUnavailable as e:
            raise ConnectionError(f"the ledger can't be compared with the broker: {e}") from e
        self._ledger.confirm(own)
        if not self._may_ask(broker):
            self._channel = broker.channel()

    def compare_again(self, broker: Broker, topology: Topology, *, declares: bool) -> None:
        """Do so because the ledger has moved, or its mark is gone (`is_due`).

        Raises:
            LinkDown: another ledger is noted, or a later copy of this one.
            ConnectionError: the ledger can't be read.

        """
        try:
            self.compare(broker, topology, declares=declares)
        except LedgerMismatch as e:
            raise ConnectionDown(str(e)) from e

    def moved(self) -> None:
        """Have it compared again. From any thread."""
        self.is_due = True

    def ask(self, broker: Broker) -> None:
        """Ask whether the ledger is still valid, and wait for nothing: where it is not, all is compared again."""
        for exchange in self._lasting:
            if self._may_ask(broker):
                broker.ask_for_exchange(self._channel, exchange, self.moved)

    def _may_ask(self, broker: Broker) -> bool:
        """Whether its channel is of this connection, and the broker has not closed it."""
        channel = self._channel
        return channel is not None and channel.connection is broker.connection and channel.is_open

    def _judge(
        self, notes: Notes, own: Lineage | None, remembered: Remembered | None, *, declares: bool
    ) -> bool:
        """Note of a ledger that is valid all that is to be noted; return whether its lineage is marked."""
        is_known = notes.is_known()
        if is_known:
            self._identify(notes, declares=declares)
        comparison = notes.judge(own, remembered, is_known=is_known)
        if isinstance(comparison, Outdated):
            raise LedgerMismatch(
                f"the ledger is in an old copy of its database, {own}: workers have used a newer one since. Point "
                "ledger.url to the new primary, and stop the old one or make it a standby; if the new one is gone for "
                "good, stop all workers and run `bridge ledger adopt`"
            )
        is_marked = isinstance(comparison, Recognized) and own is not None
        if own is not None and isinstance(comparison, Unmarked | Succeeded):
            is_marked = self._identity(notes, own, declares=declares)
        if isinstance(comparison, Unmarked | Succeeded) and is_marked:
            # Not before its own is there: no crash may leave the ledger without a mark.
            notes.remove(comparison.before)
        if own is not None and isinstance(comparison, Succeeded):
            self._ledger.restore(own, is_marked=is_marked, max_age=self._max_age)
            self._log.warning(
                "ledger.restored",
                lineage=str(own),
                before=str(remembered.lineage) if remembered else None,
                hint="a failover or a restore: ids that the ledger does not know are looked up with the provider",
            )
        elif own is not None and isinstance(comparison, Unmarked):
            self._ledger.remember(own, is_marked=is_marked)
        if not is_known:
            # The last: a ledger that is known and has no mark is an old copy.
            self._identify(notes, declares=declares)
        return is_marked

    def _names(self, notes: Notes, *, declares: bool) -> tuple[str, ...]:
        """Return the exchange that is there as long as the ledger is the noted one; none where it can't be made."""
        try:
            notes.name()
        except AccessRefused:
            if declares:
                raise
            self._log.error(
                "ledger.not_marked",
                exchange=notes.named,
                hint="give the user the right to configure it: without it a worker does not notice "
                "`bridge ledger adopt` while it runs",
            )
            return ()
        return (notes.named,)

    def _identify(self, notes: Notes, *, declares: bool) -> None:
        try:
            notes.identify()
        except AccessRefused:
            if declares:
                raise
            # A worker that declares nothing may have no right to; then it cannot compare.
            self._log.warning(
                "ledger.not_compared",
                exchange=notes.exchange,
                hint="give the user the right to configure it",
            )

    def _identity(self, notes: Notes, own: Lineage, *, declares: bool) -> bool:
        try:
            notes.identity(own)
        except AccessRefused:
            if declares:
                raise
            self._log.error(
                "ledger.not_marked",
                exchange=notes.identity_of(own),
                hint="give the user the right to configure it: without it a worker may use an old primary",
            )
            return False
        return True
