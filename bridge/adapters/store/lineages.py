"""Which copy of the database the ledger is in, as its sessions say, and what the ledger notes of that."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from bridge.adapters.store import facts
from bridge.domain.ledger import restored
from bridge.ports import LedgerUnavailable, LedgerUnusable

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from bridge.adapters.store.ledger import Database
    from bridge.domain.ledger import Restored
    from bridge.domain.lineage import Lineage, Remembered

#: Seconds that a transaction waits for a new lineage to be compared with the broker.
TIMEOUT = 2.0


class Lineages:
    """The lineage of one process's ledger.

    Its methods but `check` are for one thread, which need not be the ledger's. All of them raise LedgerUnavailable.
    """

    def __init__(self, database: Database) -> None:
        self._read = database.lineage_of
        #: Its transactions check no lineage.
        self._transaction = database.transaction
        #: The lineage that was compared with the broker; sessions of any other one are refused.
        self._confirmed: Lineage | None = None
        #: Set by each comparison that ended well.
        self._compared = threading.Event()
        #: Called from the ledger's thread when a session leads to a lineage that was not compared yet.
        self.on_moved: Callable[[], None] = _nothing
        #: Names this ledger; another file or database has another name.
        self.identity = ""
        #: That the ledger was restored, as far as this process knows.
        self.restored: Restored | None = None

    def begin(self, connection: Connection) -> None:
        """Take what is noted, and note what a new ledger needs, in a transaction of the caller's."""
        facts.begin(connection, self._read(connection))
        self._take(facts.facts_of(connection))

    def check(self, connection: Connection) -> None:
        """Do nothing where a session leads to the lineage that was confirmed, or is within a moment.

        Raises:
            LedgerUnusable: it leads to an old primary.
            LedgerUnavailable: it leads to another server, which was not compared yet.

        """
        confirmed = self._confirmed
        if confirmed is None:
            return
        own = self._read(connection)
        if own == confirmed:
            return
        self._compared.clear()
        if own is not None and own.is_before(confirmed):
            raise LedgerUnusable(
                f"the database is an old primary: its timeline is {own.timeline}, and the ledger has been on timeline "
                f"{confirmed.timeline}; stop that server or make it a standby (docs/operations.md, PostgreSQL failover)"
            )
        self.on_moved()
        if self._compared.wait(TIMEOUT) and own == self._confirmed:
            return
        raise LedgerUnavailable(
            f"the ledger is on another server now, {own}; before it was on {confirmed}: it is compared with the broker"
        )

    def recall(self) -> tuple[Lineage | None, Remembered | None]:
        """Return the lineage of a session, and the one that the ledger remembers; notice a restore and a new name."""
        with self._transaction(()) as connection:
            noted, own = facts.facts_of(connection), self._read(connection)
        self._take(noted)
        return own, noted.remembered

    def confirm(self, own: Lineage | None) -> None:
        """Have sessions of any other lineage refused from now on."""
        self._confirmed = own
        self._compared.set()

    def remember(self, own: Lineage, *, is_marked: bool) -> None:
        """Note the lineage, and whether the broker has the mark of it."""
        with self._transaction(()) as connection:
            self._require(connection, own)
            facts.remember(connection, own, is_marked=is_marked)

    def restore(self, own: Lineage, *, is_marked: bool, max_age: float) -> None:
        """Note that the ledger was restored to this lineage, unless another process has noted it.

        `max_age` is how many seconds a lost call matters.
        """
        with self._transaction(None) as connection:
            self._require(connection, own)
            before = facts.facts_of(connection)
            noted = before.restored
            if before.remembered is None or before.remembered.lineage != own:
                now = connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one()
                noted = self._restore(connection, float(now), before.restored, max_age)
            facts.remember(connection, own, is_marked=is_marked)
        self.restored = noted

    def adopt(self, now: float, *, is_backup: bool, max_age: float) -> None:
        """Note that an operator puts the ledger in the place of another one; `is_backup` says of an earlier state."""
        with self._transaction(None) as connection:
            before = facts.facts_of(connection)
            noted = self._restore(connection, now, before.restored, max_age, is_backup=is_backup)
        self.restored = noted

    def rename(self, identity: str, own: Lineage | None) -> None:
        """Give the ledger a name that its copies do not have; the broker has the mark of its lineage by that name."""
        with self._transaction(None) as connection:
            facts.rename(connection, identity)
            if own is not None:
                self._require(connection, own)
                facts.remember(connection, own, is_marked=True)
        self.identity = identity

    def _take(self, noted: facts.Facts) -> None:
        self.identity, self.restored = noted.identity or "", noted.restored

    def _restore(
        self,
        connection: Connection,
        now: float,
        before: Restored | None,
        max_age: float,
        *,
        is_backup: bool = True,
    ) -> Restored:
        last = facts.last_commit_at(connection, now - max_age) if is_backup else None
        noted = restored(now, last_commit_at=last, max_age=max_age, before=before)
        facts.restore(connection, noted)
        return noted

    def _require(self, connection: Connection, own: Lineage) -> None:
        if self._read(connection) != own:
            raise LedgerUnavailable(f"the session does not lead to {own} any more")


def _nothing() -> None:
    """Do nothing about a move: what opens the ledger compares nothing."""
