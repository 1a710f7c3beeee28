"""Standbys of a PostgreSQL server: how many receive its log, and whether a commit can finish.

With `synchronous_standby_names` a commit waits until enough of the named standbys have it, without a time limit.
A transaction that only reads does not wait.
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
#: A role without `pg_read_all_stats` sees the standbys' names, but NULL for their state.
_STANDBYS = (
    "SELECT application_name, sync_state FROM pg_stat_replication "
    "WHERE application_name IS DISTINCT FROM 'pg_basebackup'"
)


@dataclass(frozen=True, slots=True)
class Replication:
    """Numbers of standbys."""

    #: Standbys that receive the write-ahead log.
    connected: int
    #: Standbys that a commit waits for; 0 if it does not wait.
    needed: int
    #: Connected standbys that can confirm a commit.
    confirming: int

    @property
    def is_stuck(self) -> bool:
        """Whether no commit can finish."""
        return self.confirming < self.needed


def replication_of(connection: Connection) -> Replication:
    """Return the replication state of a connection's server; our sessions set `synchronous_commit = on`."""
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
    """Return how many standbys a commit waits for, given the value of `synchronous_standby_names`."""
    number = _NUMBER.match(names)
    return int(number[1]) if number else int(bool(names.strip()))


def wanted_standbys(names: str) -> frozenset[str]:
    """Return the names, in lower case, of the standbys that a commit may wait for; `names` as above."""
    number = _NUMBER.match(names)
    listed = names[number.end() :] if number else names
    return frozenset((plain or quoted.replace('""', '"')).lower() for quoted, plain in _NAMES.findall(listed))


def _is_among(wanted: frozenset[str], name: str) -> bool:
    return "*" in wanted or name.lower() in wanted
