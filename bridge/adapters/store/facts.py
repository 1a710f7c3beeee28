"""Facts about the ledger itself, in its table `meta`: its name, which copy it is, and when it was restored."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select, text

from bridge.adapters.store.tables import buckets, commands, meta
from bridge.domain.ledger import Restored
from bridge.domain.ledger.time import CLOCK
from bridge.domain.lineage import Lineage, Remembered
from bridge.ports import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

IDENTITY = "identity"
LINEAGE = "lineage"
IS_MARKED = "lineage_is_marked"
LEFT = "lineage_left"
RESTORED_AT = "restored_at"
LOST_SINCE = "lost_since"

_PUT = text(
    "INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)


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


def begin(connection: Connection, lineage: Lineage | None) -> None:
    """Give the ledger a name, and have it remember its lineage, where it is new; all of it is locked."""
    if facts_of(connection).identity is not None:
        return
    _put(connection, IDENTITY, new_identity())
    if lineage is not None:
        _put(connection, LINEAGE, str(lineage))


def rename(connection: Connection, identity: str) -> None:
    """Give the ledger another name, by which the broker has no mark of its lineage until `remember`."""
    _put(connection, IDENTITY, identity)
    _put(connection, IS_MARKED, "no")


def remember(connection: Connection, lineage: Lineage, *, is_marked: bool) -> None:
    """Have the ledger remember its lineage, and whether the broker has the mark of it.

    Where it has not, it may have one of before.
    """
    before = facts_of(connection).remembered
    if is_marked:
        _put(connection, LEFT, "")
    elif before is not None and before.is_marked and before.lineage != lineage:
        _put(connection, LEFT, str(before.lineage))
    _put(connection, LINEAGE, str(lineage))
    _put(connection, IS_MARKED, "yes" if is_marked else "no")


def restore(connection: Connection, restored: Restored) -> None:
    """Note that the ledger was restored."""
    _put(connection, RESTORED_AT, str(restored.at))
    _put(connection, LOST_SINCE, str(restored.since))


def _put(connection: Connection, key: str, value: str) -> None:
    connection.execute(_PUT, {"key": key, "value": value})


def last_commit_at(connection: Connection, since: float) -> float | None:
    """Return when the ledger last changed a command, in seconds since the epoch; None where that can't be known.

    It can't where there is none, nor where the clock was set after `since`: times of before and after do not compare.
    """
    clock = select(buckets.c.next_free).where(buckets.c.name == CLOCK)
    set_at = connection.execute(clock).scalar_one_or_none()
    if set_at is not None and set_at > since:
        return None
    return connection.execute(select(func.max(commands.c.updated_at))).scalar_one_or_none()
