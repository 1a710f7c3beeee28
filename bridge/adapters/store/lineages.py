"""The lineage of a process's ledger: comparison of each session with the confirmed one, and the ledger's record."""

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

#: Seconds that a transaction waits until a new lineage was compared with the broker.
TIMEOUT = 2.0


class Lineages:
    """The lineage of one process's ledger.

    All methods but `check` are for one thread, which need not be the ledger's. All of them raise LedgerUnavailable.
    """

    def __init__(self, database: Database) -> None:
        self._read = database.lineage_of
        #: These transactions check no lineage.
        self._transaction = database.transaction
        #: The lineage that was compared with the broker; sessions with any other one are refused.
        self._confirmed: Lineage | None = None
        #: Set by each comparison that succeeded.
        self._compared = threading.Event()
        #: Called from the ledger's thread when a session leads to a lineage that was not compared yet.
        self.on_moved: Callable[[], None] = _nothing
        #: The name of this ledger; another file or database has another one.
        self.identity = ""
        #: The ledger's last restore, as far as this process knows.
        self.restored: Restored | None = None

    def begin(self, connection: Connection) -> None:
        """Read the recorded facts, and record those of a new ledger, in the caller's transaction."""
        facts.begin(connection, self._read(connection))
        self._take(facts.facts_of(connection))

    def check(self, connection: Connection) -> None:
        """Check that a session leads to the confirmed lineage; a new one may be confirmed within `TIMEOUT`.

        Raises:
            LedgerUnusable: the session leads to an old primary.
            LedgerUnavailable: it leads to another server that was not compared yet.

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
            f"the ledger moved from {confirmed} to another server, {own}, which is being compared with the broker"
        )

    def recall(self) -> tuple[Lineage | None, Remembered | None]:
        """Return a session's lineage and the recorded one; take over a restore or a new name of the ledger."""
        with self._transaction(()) as connection:
            noted, own = facts.facts_of(connection), self._read(connection)
        self._take(noted)
        return own, noted.remembered

    def confirm(self, own: Lineage | None) -> None:
        """Refuse sessions with any other lineage from now on."""
        self._confirmed = own
        self._compared.set()

    def remember(self, own: Lineage, *, is_marked: bool) -> None:
        """Record the lineage, and whether the broker has it recorded, too."""
        with self._transaction(()) as connection:
            self._require(connection, own)
            facts.remember(connection, own, is_marked=is_marked)

    def restore(self, own: Lineage, *, is_marked: bool, max_age: float) -> None:
        """Record that the ledger was restored to this lineage, unless another process has recorded it.

        `max_age` is the time in seconds for which a lost call matters.
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
        """Record that an operator puts the ledger in place of another one; `is_backup` says that its state is older."""
        with self._transaction(None) as connection:
            before = facts.facts_of(connection)
            noted = self._restore(connection, now, before.restored, max_age, is_backup=is_backup)
        self.restored = noted

    def rename(self, identity: str, own: Lineage | None) -> None:
        """Give the ledger a name that its copies do not have; the broker has its lineage recorded under that name."""
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
    """Do nothing when the server changes: some programs open a ledger and compare nothing."""
