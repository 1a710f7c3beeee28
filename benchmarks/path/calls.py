"""Counts the calls of a path: how many there are, in how many files, and how often the path returns to one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Call(NamedTuple):
    """One call of a Python function."""

    thread: str
    file: str
    function: str


@dataclass(slots=True)
class Stay:
    """Consecutive calls in one file on one thread."""

    thread: str
    file: str
    functions: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Path:
    """The stays of one command or one webhook, in the order in which they began."""

    stays: list[Stay]

    @classmethod
    def of(cls, calls: Iterable[Call]) -> Path:
        """Return the path of `calls`. A call on another thread does not end a stay."""
        stays: list[Stay] = []
        current: dict[str, Stay] = {}
        for thread, file, function in calls:
            stay = current.get(thread)
            if stay is None or stay.file != file:
                stay = current[thread] = Stay(thread, file)
                stays.append(stay)
            stay.functions.append(function)
        return cls(stays)

    @property
    def calls(self) -> int:
        """The number of calls."""
        return sum(len(stay.functions) for stay in self.stays)

    @property
    def files(self) -> Counter[str]:
        """The files, with the number of stays in each."""
        return Counter(stay.file for stay in self.stays)

    @property
    def returns(self) -> int:
        """The number of stays in a file that the path had left before."""
        return len(self.stays) - len(self.files)
