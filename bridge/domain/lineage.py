"""Which copy of a database the ledger is in: a failover, or a restore from a backup, makes two of one.

PostgreSQL numbers the timelines of its write-ahead log. A promoted standby begins a new one, and so does a recovery to
a point in time (PostgreSQL documentation, "Continuous Archiving", section Timelines). A server that was the primary
before and comes back is still on the old one, so the number tells the two apart. The system identifier tells databases
apart that `initdb` made separately. SQLite has neither.

The ledger remembers its lineage, and the broker has a mark for each lineage that is valid. What `judge` makes of both:

    own lineage       mark on the broker      verdict
    any               a later one is there    Outdated: a worker has used a newer primary
    as remembered     there                   Recognized
    as remembered     gone                    Outdated: the workers of a newer primary have removed it
    as remembered     the broker is new       Unmarked
    another           one of before is there  Succeeded: a failover or a restore
    another           none of before either   Outdated: workers have used another copy of the one that it remembers
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

#: Failovers that may follow each other before a worker compares the ledger.
MOST_UNSEEN = 16
#: Hexadecimal digits, and the letters that stand for them in a name: a log takes no letter for a phone number.
_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
_NAME = re.compile(r"([a-p]{16})-([0-9]{1,10})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Lineage:
    """A copy of a database. Its text has letters for the system identifier, and the number of the timeline."""

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
        """Return the lineage that was written as `text`; None for any other text."""
        found = _NAME.fullmatch(text)
        return None if found is None else cls(found[1], int(found[2]))

    def is_before(self, other: Lineage) -> bool:
        """Return whether `other` is a later timeline of the same system."""
        return self.system == other.system and self.timeline < other.timeline


@dataclass(frozen=True, slots=True)
class Remembered:
    """The lineage that the ledger had when a worker last recognized it."""

    lineage: Lineage
    #: Whether the broker is to have the mark of it; not where a worker lacked the permission to make it.
    is_marked: bool
    #: The last lineage whose mark that worker could not remove.
    left: Lineage | None = None

    @property
    def was_marked(self) -> bool:
        """Whether the broker had the mark of one of them."""
        return self.is_marked or self.left is not None

    @property
    def lineages(self) -> tuple[Lineage, ...]:
        """All of them."""
        return (self.lineage,) if self.left is None else (self.lineage, self.left)


@dataclass(frozen=True, slots=True)
class Recognized:
    """The ledger is valid, and all is noted."""


@dataclass(frozen=True, slots=True)
class Unmarked:
    """The ledger is valid; its mark is to be made, and those of `before` are to go."""

    before: tuple[Lineage, ...] = ()


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The ledger is a later copy: a restored one. Its mark is to be made, and those of `before` are to go."""

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
    """Return what the ledger is.

    `own` is the lineage of the server that it is in now; None where that can't be read. `is_marked` says whether the
    broker has the mark of `own`, `is_known` whether it has the identity of this ledger, `is_later_marked` whether
    it has the mark of a later timeline of that server's system, and `is_before_marked` that of one of `before`.
    """
    if own is None:
        return Recognized()
    if is_later_marked:
        return Outdated()
    if remembered is None:
        # Nothing was remembered as long as the lineage could not be read. A mark says nothing: a worker that has found
        # the same may have made it, and notes a moment later that the ledger was restored.
        return Succeeded(before=()) if is_known else Unmarked()
    has_lost_its_own = own == remembered.lineage and remembered.is_marked
    if is_known and not is_marked and remembered.was_marked and (has_lost_its_own or not is_before_marked):
        return Outdated()
    if own != remembered.lineage:
        return Succeeded(before(own, remembered))
    return Recognized() if is_marked and remembered.is_marked else Unmarked(before(own, remembered))


def copies(own: Lineage | None, remembered: Remembered | None) -> frozenset[Lineage]:
    """Return the lineages that a ledger and its copies may have had, as far as it can know."""
    found = set() if remembered is None else set(remembered.lineages)
    if own is not None:
        found |= {own, *later_than(own)}
    if own is not None and remembered is not None:
        found.update(before(own, remembered))
    return frozenset(found)


def before(own: Lineage, remembered: Remembered) -> tuple[Lineage, ...]:
    """Return the lineages that are not valid any more once `own` is."""
    first = max(1, own.timeline - MOST_UNSEEN)
    earlier = (Lineage(own.system, timeline) for timeline in range(first, own.timeline))
    # In one order, each once.
    return tuple(dict.fromkeys(lineage for lineage in (*remembered.lineages, *earlier) if lineage != own))


def later_than(own: Lineage) -> tuple[Lineage, ...]:
    """Return the timelines that may have followed `own`."""
    return tuple(Lineage(own.system, own.timeline + step) for step in range(1, MOST_UNSEEN + 1))
