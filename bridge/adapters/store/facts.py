"""Facts about the ledger itself, in its table `meta`: its name, which copy it is, and when it was restored."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from bridge.adapters.store.tables import buckets, commands, meta
from bridge.domain.ledger import Restored
from bridge.domain.ledger.time import CLOCK
from bridge.domain.lineage import Lineage, Remembered
from bridge.ports import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection, Table

    from bridge.adapters.store.loading import Insert

IDENTITY = "identity"
LINEAGE = "lineage"
IS_MARKED = "lineage_is_marked"
LEFT = "lineage_left"
RESTORED_AT = "restored_at"
LOST_SINCE = "lost_since"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a ledger says of itself."""

    #: Names this ledger and its copies; every other ledger has another name.
    identity: str | None
    remembered: Remembered | None
    restored: Restored | None


def facts_of(connection: Connection) -> Facts:
    """Return what is noted.

    Raises:
        LedgerUnavailable: a time in it is no number.

    """
    noted: dict[str, str] = {row.key: row.value for row in connection.execute(select(meta))}
    lineage = Lineage.read(noted.get(LINEAGE, ""))
    return Facts(
        identity=noted.get(IDENTITY),
        remembered=None
        if lineage is None
        else Remembered(lineage, noted.get(IS_MARKED) != "no", Lineage.read(noted.get(LEFT, ""))),
        restored=_restored(noted),
    )


def _restored(noted: Mapping[str, str]) -> Restored | None:
    if RESTORED_AT not in noted:
        return None
    try:
        at = float(noted[RESTORED_AT])
        return Restored(at=at, since=float(noted.get(LOST_SINCE, at)))
    except ValueError as e:
        raise LedgerUnavailable(f"the ledger's {RESTORED_AT} or {LOST_SINCE} is no time") from e


def new_identity() -> str:
    """Return a name that no ledger has: letters alone, which no log takes for a phone number."""
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(20))


class FactWriter:
    """Writes facts, in the transactions of its callers."""

    def __init__(self, insert: Callable[[Table], Insert]) -> None:
        self._insert = insert

    def begin(self, connection: Connection, lineage: Lineage | None) -> None:
        """Give the ledger a name, and have it remember its lineage, where it is new; all of it is locked."""
        if facts_of(connection).identity is not None:
            return
        self._put(connection, IDENTITY, new_identity())
        if lineage is not None:
            self._put(connection, LINEAGE, str(lineage))

    def rename(self, connection: Connection, identity: str) -> None:
        """Give the ledger another name, by which the broker has no mark of its lineage until `remember`."""
        self._put(connection, IDENTITY, identity)
        self._put(connection, IS_MARKED, "no")

    def remember(self, connection: Connection, lineage: Lineage, *, is_marked: bool) -> None:
        """Have the ledger remember its lineage, and whether the broker has the mark of it.

        Where it has not, it may have one of before.
        """
        before = facts_of(connection).remembered
        if is_marked:
            self._put(connection, LEFT, "")
        elif before is not None and before.is_marked and before.lineage != lineage:
            self._put(connection, LEFT, str(before.lineage))
        self._put(connection, LINEAGE, str(lineage))
        self._put(connection, IS_MARKED, "yes" if is_marked else "no")

    def restore(self, connection: Connection, restored: Restored) -> None:
        """Note that the ledger was restored."""
        self._put(connection, RESTORED_AT, str(restored.at))
        self._put(connection, LOST_SINCE, str(restored.since))

    def _put(self, connection: Connection, key: str, value: str) -> None:
        putting = self._insert(meta).values(key=key, value=value)
        connection.execute(putting.on_conflict_do_update(index_elements=["key"], set_={"value": value}))


def last_commit_at(connection: Connection, since: float) -> float | None:
    """Return when the ledger last changed a command, in seconds since the epoch; None where that can't be known.

    It can't where there is none, nor where the clock was set after `since`: times of before and after do not compare.
    """
    clock = select(buckets.c.next_free).where(buckets.c.name == CLOCK)
    set_at = connection.execute(clock).scalar_one_or_none()
    if set_at is not None and set_at > since:
        return None
    return connection.execute(select(func.max(commands.c.updated_at))).scalar_one_or_none()
