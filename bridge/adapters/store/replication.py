"""Standbys of a PostgreSQL server: how many receive its log, and whether a commit can end.

With `synchronous_standby_names` set a commit waits until so many of the named standbys have it, for ever if need be.
A transaction that only reads waits for none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: `ANY 2 (a, b)`, `FIRST 2 (a, b)` and `2 (a, b)`; a list alone is `FIRST 1`.
_NUMBER = re.compile(r"\s*(?:(?:ANY|FIRST)\s+)?(\d+)\s*\(", re.IGNORECASE)
_NAMES = re.compile(r'"((?:[^"]|"")*)"|([^\s,()"]+)')
#: A role without `pg_read_all_stats` sees the names of standbys, and no state (NULL).
_STANDBYS = (
    "SELECT application_name, sync_state FROM pg_stat_replication "
    "WHERE application_name IS DISTINCT FROM 'pg_basebackup'"
)


@dataclass(frozen=True, slots=True)
class Replication:
    """Numbers of standbys."""

    #: Those that receive the write-ahead log.
    connected: int
    #: Those that a commit waits for; 0 where it waits for none.
    needed: int
    #: Those that are connected and may be what a commit waits for.
    confirming: int

    @property
    def is_stuck(self) -> bool:
        """Whether no commit ends."""
        return self.confirming < self.needed


def replication_of(connection: Connection) -> Replication:
    """Return how the server of a connection replicates; our sessions have `synchronous_commit = on`."""
    names = str(connection.exec_driver_sql("SHOW synchronous_standby_names").scalar_one())
    standbys = connection.exec_driver_sql(_STANDBYS).all()
    wanted = wanted_standbys(names)
    return Replication(
        connected=len(standbys),
        needed=needed_standbys(names),
        confirming=sum(
            _is_among(wanted, name or "") if state is None else state in {"sync", "quorum"}
            for name, state in standbys
        ),
    )


def needed_standbys(names: str) -> int:
    """Return how many standbys a commit waits for, by the value of `synchronous_standby_names`."""
    number = _NUMBER.match(names)
    return int(number[1]) if number else int(bool(names.strip()))


def wanted_standbys(names: str) -> frozenset[str]:
    """Return which standbys a commit waits for, in lower case, by the value of `synchronous_standby_names`."""
    number = _NUMBER.match(names)
    listed = names[number.end() :] if number else names
    return frozenset((plain or quoted.replace('""', '"')).lower() for quoted, plain in _NAMES.findall(listed))


def _is_among(wanted: frozenset[str], name: str) -> bool:
    return "*" in wanted or name.lower() in wanted
