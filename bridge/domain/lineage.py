"""Lineage of the ledger: which copy of a database it is in, after a failover or a restore from a backup.

PostgreSQL numbers the timelines of its write-ahead log. A promoted standby begins a new timeline, and so does a
recovery to a point in time (PostgreSQL documentation, "Continuous Archiving", section Timelines). An old primary that
comes back is still on the old timeline, so the number distinguishes the two. The system identifier distinguishes
databases that `initdb` created separately. SQLite has neither.

The ledger remembers its lineage, and the broker has a mark for each valid lineage. `judge` compares both:

    own lineage       mark on the broker             verdict
    any               that of a later one exists     Outdated: a worker has used a newer primary
    as remembered     exists                         Recognized
    as remembered     was removed                    Outdated: workers of a newer primary have removed it
    as remembered     the broker is new              Unmarked
    another           that of an earlier one exists  Succeeded: a failover or a restore
    another           no earlier one exists          Outdated: workers have used another copy of the remembered ledger
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

#: The maximum number of failovers between two comparisons by a worker.
MOST_UNSEEN = 16
#: Letters in place of hexadecimal digits, so that logs do not mask a lineage as a phone number.
_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
_NAME = re.compile(r"([a-p]{16})-([0-9]{1,10})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Lineage:
    """A copy of a database. As text: the system identifier in letters, and the number of the timeline."""

    system: str
    timeline: int

    def __str__(self) -> str:
        return f"{self.system}-{self.timeline}"

    @classmethod
    def of_postgresql(cls, system_identifier: int, timeline: int) -> Lineage:
        """Return the lineage of a server (`pg_control_system`, and the timeline of its write-ahead log)."""
        return cls(format(system_identifier % 2**64, "016x").translate(_LETTERS), timeline)

    @classmethod
    def read(cls, text: str) -> Lineage | None:
        """Parse a lineage; None if `text` is not one."""
        found = _NAME.fullmatch(text)
        return None if found is None else cls(found[1], int(found[2]))

    def is_before(self, other: Lineage) -> bool:
        """Return whether `other` is a later timeline of the same system."""
        return self.system == other.system and self.timeline < other.timeline


@dataclass(frozen=True, slots=True)
class Remembered:
    """The lineage that the ledger had when a worker last recognized it."""

    lineage: Lineage
    #: Whether the broker should have its mark; False if the worker lacked the permission to create it.
    is_marked: bool
    #: The last lineage whose mark that worker could not remove.
    left: Lineage | None = None

    @property
    def was_marked(self) -> bool:
        """Whether the broker had a mark of one of the lineages."""
        return self.is_marked or self.left is not None

    @property
    def lineages(self) -> tuple[Lineage, ...]:
        """The remembered lineages."""
        return (self.lineage,) if self.left is None else (self.lineage, self.left)


@dataclass(frozen=True, slots=True)
class Recognized:
    """The ledger is valid, and its lineage is marked and remembered."""


@dataclass(frozen=True, slots=True)
class Unmarked:
    """The ledger is valid. Its mark must be created, and those of `before` removed."""

    before: tuple[Lineage, ...] = ()


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The ledger is a later copy, a restored ledger. Its mark must be created, and those of `before` removed."""

    before: tuple[Lineage, ...]


@dataclass(frozen=True, slots=True)
class Outdated:
    """The ledger is an earlier copy: an old primary. It must not be used."""


Comparison: TypeAlias = Recognized | Unmarked | Succeeded | Outdated


def judge(
    own: Lineage | None,
    remembered: Remembered | None,
    *,
    is_marked: bool,
    is_known: bool,
    is_later_marked: bool = False,
    is_before_marked: bool = False,
) -> Comparison:
    """Compare the ledger's lineage with the remembered one and with the marks on the broker.

    `own` is the lineage of the server; None if it can't be read. The other arguments say what the broker has:
    `is_marked` the mark of `own`, `is_known` the identity of this ledger, `is_later_marked` the mark of a later
    timeline of the same system, `is_before_marked` the mark of one of `before`.
    """
    if own is None:
        return Recognized()
    if is_later_marked:
        return Outdated()
    if remembered is None:
        # Nothing is remembered while the lineage can't be read. The mark proves nothing: another worker in the same
        # situation may have created it, and records a moment later that the ledger was restored.
        return Succeeded(before=()) if is_known else Unmarked()
    has_lost_its_own = own == remembered.lineage and remembered.is_marked
    if is_known and not is_marked and remembered.was_marked and (has_lost_its_own or not is_before_marked):
        return Outdated()
    if own != remembered.lineage:
        return Succeeded(before(own, remembered))
    return Recognized() if is_marked and remembered.is_marked else Unmarked(before(own, remembered))


def copies(own: Lineage | None, remembered: Remembered | None) -> frozenset[Lineage]:
    """Return the lineages that a ledger and its copies may have had, as far as it knows."""
    found = set() if remembered is None else set(remembered.lineages)
    if own is not None:
        found |= {own, *later_than(own)}
    if own is not None and remembered is not None:
        found.update(before(own, remembered))
    return frozenset(found)


def before(own: Lineage, remembered: Remembered) -> tuple[Lineage, ...]:
    """Return the lineages that are no longer valid once `own` is."""
    first = max(1, own.timeline - MOST_UNSEEN)
    earlier = (Lineage(own.system, timeline) for timeline in range(first, own.timeline))
    # Each once, in a stable order.
    return tuple(dict.fromkeys(lineage for lineage in (*remembered.lineages, *earlier) if lineage != own))


def later_than(own: Lineage) -> tuple[Lineage, ...]:
    """Return the timelines that may have followed `own`."""
    return tuple(Lineage(own.system, own.timeline + step) for step in range(1, MOST_UNSEEN + 1))
