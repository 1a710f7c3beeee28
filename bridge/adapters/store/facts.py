"""Facts about the ledger itself, in its table `meta`: its identity, lineage and last restore."""

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
    """The facts that a ledger records about itself."""

    #: The name of this ledger and its copies; every other ledger has another one.
    identity: str | None
    remembered: Remembered | None
    restored: Restored | None


def facts_of(connection: Connection) -> Facts:
    """Return the recorded facts.

    Raises:
        LedgerUnavailable: a recorded time is not a number.

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
        raise LedgerUnavailable(
            f"{RESTORED_AT} or {LOST_SINCE} in the ledger's table meta is not a number"
        ) from e


def new_identity() -> str:
    """Return a name that no ledger has: letters only, which log redaction does not take for a phone number."""
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(20))


def begin(connection: Connection, lineage: Lineage | None) -> None:
    """Give a new ledger a name and record its lineage; the caller has locked the whole ledger."""
    if facts_of(connection).identity is not None:
        return
    _put(connection, IDENTITY, new_identity())
    if lineage is not None:
        _put(connection, LINEAGE, str(lineage))


def rename(connection: Connection, identity: str) -> None:
    """Give the ledger another name. Until `remember` the broker has no record of its lineage under that name."""
    _put(connection, IDENTITY, identity)
    _put(connection, IS_MARKED, "no")


def remember(connection: Connection, lineage: Lineage, *, is_marked: bool) -> None:
    """Record the ledger's lineage, and whether the broker has it recorded, too.

    If the broker has not, it may still have the previous lineage.
    """
    before = facts_of(connection).remembered
    if is_marked:
        _put(connection, LEFT, "")
    elif before is not None and before.is_marked and before.lineage != lineage:
        _put(connection, LEFT, str(before.lineage))
    _put(connection, LINEAGE, str(lineage))
    _put(connection, IS_MARKED, "yes" if is_marked else "no")


def restore(connection: Connection, restored: Restored) -> None:
    """Record that the ledger was restored."""
    _put(connection, RESTORED_AT, str(restored.at))
    _put(connection, LOST_SINCE, str(restored.since))


def _put(connection: Connection, key: str, value: str) -> None:
    connection.execute(_PUT, {"key": key, "value": value})


def last_commit_at(connection: Connection, since: float) -> float | None:
    """Return the time of the last change to a command, in seconds since the epoch; None if it can't be known.

    Without commands it is unknown, and also if the clock was set after `since`: such times do not compare.
    """
    clock = select(buckets.c.next_free).where(buckets.c.name == CLOCK)
    set_at = connection.execute(clock).scalar_one_or_none()
    if set_at is not None and set_at > since:
        return None
    return connection.execute(select(func.max(commands.c.updated_at))).scalar_one_or_none()
