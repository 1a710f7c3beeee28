"""Which copy of a database is the ledger: any number of failovers, restores, crashes and old primaries that return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.lineage import (
    MOST_UNSEEN,
    Lineage,
    Outdated,
    Recognized,
    Remembered,
    Succeeded,
    Unmarked,
    judge,
    later_than,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SYSTEM, OTHER = 7713980091317042706, 7713980091317042707
FIRST, SECOND, FIFTH = (Lineage.of_postgresql(SYSTEM, timeline) for timeline in (1, 2, 5))
ELSEWHERE = Lineage.of_postgresql(OTHER, 1)


@pytest.mark.parametrize("system", [0, 1, SYSTEM, 2**64 - 1, -1])
def test_a_lineage_is_read_as_it_was_written_and_is_no_number_to_a_log(system: int) -> None:
    lineage = Lineage.of_postgresql(system, 2**32 - 1)
    name, _, timeline = str(lineage).partition("-")

    assert Lineage.read(str(lineage)) == lineage
    assert name.isalpha()
    assert timeline == str(2**32 - 1)


@pytest.mark.parametrize(
    "text", ["", "abc", "abcdefghijklmnop", "abcdefghijklmnop-", "abcdefghijklmnoq-1", "None"]
)
def test_what_is_no_lineage_is_none(text: str) -> None:
    assert Lineage.read(text) is None


@pytest.mark.parametrize(
    ("own", "remembered", "is_marked", "is_known", "standing"),
    [
        (None, None, False, True, Recognized()),
        (None, Remembered(FIRST, is_marked=True), False, True, Recognized()),
        (FIRST, Remembered(FIRST, is_marked=True), True, True, Recognized()),
        # A new ledger, a new broker, and one that could not be marked before.
        (FIRST, Remembered(FIRST, is_marked=False), False, False, Unmarked()),
        (FIRST, Remembered(FIRST, is_marked=True), False, False, Unmarked()),
        (FIRST, Remembered(FIRST, is_marked=False), False, True, Unmarked()),
        # Another worker has marked it, and was killed before it noted that.
        (FIRST, Remembered(FIRST, is_marked=False), True, True, Unmarked()),
        (FIRST, Remembered(FIRST, is_marked=True), False, True, Outdated()),
        (SECOND, Remembered(FIRST, is_marked=True), False, True, Succeeded((FIRST,))),
        (SECOND, Remembered(FIRST, is_marked=True), True, True, Succeeded((FIRST,))),
        (SECOND, Remembered(FIRST, is_marked=True), False, False, Succeeded((FIRST,))),
        (
            FIFTH,
            Remembered(FIRST, is_marked=True),
            False,
            True,
            Succeeded(tuple(Lineage(FIRST.system, timeline) for timeline in range(1, 5))),
        ),
        (ELSEWHERE, Remembered(SECOND, is_marked=True), False, True, Succeeded((SECOND,))),
        (FIRST, Remembered(SECOND, is_marked=True), False, True, Succeeded((SECOND,))),
        # Nothing was remembered as long as it could not be read.
        (FIRST, None, False, False, Unmarked()),
        (FIRST, None, True, True, Unmarked()),
        (FIRST, None, False, True, Succeeded(())),
    ],
)
def test_what_a_copy_is_follows_from_what_it_remembers_and_the_marks(
    own: Lineage | None, remembered: Remembered | None, is_marked: bool, is_known: bool, standing: object
) -> None:
    assert judge(own, remembered, is_marked=is_marked, is_known=is_known) == standing


def test_a_primary_that_no_worker_met_is_outdated_once_a_later_one_is_used() -> None:
    remembered = Remembered(FIRST, is_marked=True)

    assert judge(SECOND, remembered, is_marked=False, is_known=True, is_later_marked=True) == Outdated()


def test_many_timelines_later_the_marks_that_may_be_left_are_bounded() -> None:
    standing = judge(
        Lineage(FIRST.system, 1000), Remembered(FIRST, is_marked=True), is_marked=False, is_known=True
    )

    assert isinstance(standing, Succeeded)
    assert standing.before[0] == FIRST
    assert standing.before[-1].timeline == 999
    assert len(standing.before) == MOST_UNSEEN + 1
    assert [lineage.timeline for lineage in later_than(FIRST)][:2] == [2, 3]


@dataclass
class Server:
    """A server with a copy of the ledger."""

    own: Lineage
    remembered: Remembered


class Cluster:
    """Servers that are promoted from each other, and a broker with marks."""

    def __init__(self) -> None:
        self.marks: set[Lineage] = set()
        self.is_known = False
        self.servers = [Server(FIRST, Remembered(FIRST, is_marked=True))]
        self.newest = self.servers[0]

    def compare(self, server: Server, *, until: int = 9) -> object:
        """Do what a worker does that is killed after `until` steps."""
        own = server.own
        standing = judge(
            own,
            server.remembered,
            is_marked=own in self.marks,
            is_known=self.is_known,
            is_later_marked=own not in self.marks and not self.marks.isdisjoint(later_than(own)),
        )
        if isinstance(standing, Unmarked | Succeeded):
            steps: list[Callable[[], None]] = [lambda: self.marks.add(own)]
            if isinstance(standing, Succeeded):
                steps.append(lambda: self.marks.difference_update(standing.before))
            steps += [lambda: self.remember(server), self.know]
            for step in steps[:until]:
                step()
        return standing

    def know(self) -> None:
        self.is_known = True

    def remember(self, server: Server) -> None:
        server.remembered = Remembered(server.own, is_marked=True)

    def promote(self) -> None:
        own = Lineage(FIRST.system, self.newest.own.timeline + 1)
        self.newest = Server(own, self.newest.remembered)
        self.servers.append(self.newest)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(["promote", "compare", "old"]), st.integers(0, 5)), max_size=25))
def test_once_a_worker_uses_a_new_primary_none_uses_an_older_one(steps: list[tuple[str, int]]) -> None:
    cluster = Cluster()
    in_use = 0
    for what, number in steps:
        if what == "promote":
            cluster.promote()
        server = cluster.newest if what != "old" else cluster.servers[number % len(cluster.servers)]
        until = number if what == "promote" else 9
        standing = cluster.compare(server, until=until)
        is_used = until == 9 and not isinstance(standing, Outdated)
        if is_used:
            assert server.own.timeline >= in_use, "an old primary was taken for the ledger"
            in_use = server.own.timeline
    assert not isinstance(cluster.compare(cluster.newest), Outdated), "the newest primary is always usable"
