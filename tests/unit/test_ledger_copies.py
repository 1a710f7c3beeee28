"""Copies of the ledger: exactly one is used after failovers, restores, adoptions, crashes and returning old copies.

The code is the shipped one, including the names of exchanges; broker and databases are simulated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.adapters.amqp.adoption import adopt_with
from bridge.adapters.amqp.ledger_identity import LedgerIdentity
from bridge.adapters.amqp.ledger_notes import LedgerMismatch
from bridge.domain.lineage import Lineage, Remembered
from tests.broker.test_ledger_identity import topology

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FIRST = Lineage.of_postgresql(7713980091317042706, 1)
ALL = 99


class Killed(Exception):
    """The process ends."""


class BrokerModel:
    """The broker's exchanges, with their arguments; and the process that changes things until it is killed."""

    def __init__(self) -> None:
        self.exchanges: dict[str, Mapping[str, str]] = {}
        self.may_configure = True
        #: Changes until the process is killed.
        self.left = ALL
        #: Reads of a process until another one runs `interlude`, once.
        self.lookups = 0
        self.interlude: Callable[[], None] | None = None

    def look_up(self) -> None:
        if self.interlude is not None and self.lookups == 0:
            interlude, self.interlude = self.interlude, None
            interlude()
        self.lookups -= 1

    def change(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1


class Channel:
    """As py-amqp does."""

    def __init__(self, model: BrokerModel, connection: object) -> None:
        self._model = model
        self.connection = connection
        self.is_open = True

    def exchange_declare(
        self,
        name: str,
        _type: str,
        *,
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = True,
        arguments: Mapping[str, str] | None = None,
    ) -> None:
        if passive:
            self._model.look_up()
        there = self._model.exchanges.get(name)
        if passive:
            if there is None:
                raise NotFound
            return
        if not self._model.may_configure:
            raise AccessRefused
        if there is None:
            self._model.change()
            self._model.exchanges[name] = arguments or {}
        elif there != (arguments or {}):
            current = there["alternate-exchange"]
            raise PreconditionFailed(f"received 'another' but current is '{current}'")

    def exchange_delete(self, name: str) -> None:
        if not self._model.may_configure:
            raise AccessRefused
        self._model.change()
        self._model.exchanges.pop(name, None)

    def queue_declare(self, _name: str, *, passive: bool) -> None:
        assert passive
        raise NotFound

    def close(self) -> None:
        """Nothing is left open."""


def broker_of(model: BrokerModel) -> Any:
    connection = SimpleNamespace()
    connection.channel = lambda: Channel(model, connection)
    return SimpleNamespace(connection=connection, channel=connection.channel)


@dataclass
class Copy:
    """A server with a copy of the ledger."""

    model: BrokerModel
    own: Lineage
    identity: str = "ledger"
    remembered: Remembered | None = None
    #: The copies from which it was made, in order.
    before: list[Copy] = field(default_factory=list)
    #: Number of times that it was noted as restored.
    restored: int = 0
    #: Whether another copy was used or adopted instead of it.
    is_superseded: bool = False
    #: Whether a copy from which it was made was used since: elsewhere it is an old backup that must be adopted.
    is_stale: bool = False
    is_behind: bool = False
    #: Whether a worker that was about to use it was killed, and whether both are true: such a copy may be used, too.
    is_begun: bool = False
    is_truncated: bool = False

    def recall(self) -> tuple[Lineage | None, Remembered | None]:
        return self.own, self.remembered

    def remember(self, own: Lineage, *, is_marked: bool) -> None:
        self.model.change()
        known, left = self.remembered, None
        if known is not None and not is_marked:
            left = known.lineage if known.is_marked and known.lineage != own else known.left
        self.remembered = Remembered(own, is_marked, left)

    def restore(self, own: Lineage, *, is_marked: bool, max_age: float) -> None:
        assert max_age
        # As the real one: one of several workers notes it.
        is_first = self.remembered is None or self.remembered.lineage != own
        self.remember(own, is_marked=is_marked)
        self.restored += is_first

    def rename(self, identity: str, own: Lineage | None) -> None:
        assert own == self.own
        self.model.change()
        self.identity = identity
        self.remembered = Remembered(self.own, is_marked=True)

    def confirm(self, own: Lineage | None) -> None:
        assert own == self.own

    def copied(self, own: Lineage) -> Copy:
        copied = Copy(self.model, own, self.identity, self.remembered, [*self.before, self])
        copied.is_behind, copied.is_truncated = self.is_behind or self.is_begun, self.is_truncated
        copied.is_stale = self.is_stale or (copied.is_behind and own.system != self.own.system)
        return copied


class Cluster:
    """Servers, workers that start and stop, and an operator."""

    def __init__(self) -> None:
        self.model = BrokerModel()
        self.newest = Copy(self.model, FIRST, remembered=Remembered(FIRST, is_marked=True))
        self.copies = [self.newest]
        self._systems = 0
        self._names = 0

    def promote(self) -> None:
        """Let the newest copy fail over."""
        self._add(Lineage(self.newest.own.system, self.newest.own.timeline + 1))

    def restore(self) -> None:
        """Restore a backup of the newest copy on another system."""
        self._systems += 1
        self._add(Lineage.of_postgresql(self._systems, 1))

    def _add(self, own: Lineage) -> None:
        self.newest = self.newest.copied(own)
        self.copies.append(self.newest)

    def work(self, copy: Copy, *, until: int = ALL, may_configure: bool = True) -> None:
        """Start a worker with a copy; it is killed after that number of changes."""
        is_used, error = self._try(copy, until=until, may_configure=may_configure)
        copy.is_begun |= not is_used
        if is_used:
            assert not copy.is_superseded, f"an old copy was used: {copy.own}"
            self._used(copy, may_configure=may_configure)
        elif error is not None:
            is_right = copy is self.newest and not copy.is_superseded and not copy.is_stale
            assert not is_right, f"the valid copy was refused: {error}"

    def _used(self, copy: Copy, *, may_configure: bool) -> None:
        copy.is_begun &= not may_configure
        copy.is_behind &= not may_configure
        # A worker without the permission cannot inform others.
        for other in copy.before if may_configure and not copy.is_truncated else ():
            # Without a ledger identity no copy is known; a backup elsewhere lacks that of a killed worker.
            was_marked = other.remembered is not None and other.remembered.was_marked
            is_begun = any(older.is_begun for older in (*other.before, other))
            is_traced = not is_begun or other.own.system == copy.own.system
            other.is_superseded |= was_marked and is_traced
        for other in self.copies:
            if any(older is copy for older in other.before):
                other.is_behind = True
                other.is_stale = other.is_stale or other.own.system != copy.own.system
                other.is_truncated = other.is_truncated or other.is_begun

    def _try(self, copy: Copy, *, until: int, may_configure: bool) -> tuple[bool, Exception | None]:
        self.model.left, self.model.may_configure = until, may_configure
        identity = LedgerIdentity(copy, max_age=1.0, mistaken=lambda _: None)
        try:
            identity.compare(broker_of(self.model), topology(), declares=may_configure)
        except Killed:
            return False, None
        except LedgerMismatch as e:
            return False, e
        finally:
            self.model.left, self.model.may_configure = ALL, True
        return True, None

    def adopt(self, copy: Copy, *, until: int = ALL) -> None:
        """Let the operator adopt a copy; again, if that is killed after that number of changes."""
        was_noted = self._noted()
        if not self._adopt(copy, until=until):
            if self._noted() == was_noted:
                # Nothing has happened yet for the workers.
                self.work(self.newest)
            assert self._adopt(copy)
        for other in self.copies:
            other.is_superseded = other is not copy
        copy.is_stale = copy.is_behind = copy.is_truncated = False
        self.newest = copy
        self.work(copy)

    def _adopt(self, copy: Copy, *, until: int = ALL) -> bool:
        self._names += 1
        self.model.left = until
        name = "ledger" + "x" * self._names
        try:
            adopt_with(broker_of(self.model), topology(), copy, name, lambda _: self.model.change())
        except Killed:
            return False
        finally:
            self.model.left = ALL
        return True

    def _noted(self) -> object:
        return self.model.exchanges.get("sms.ledger")


STEPS = ["promote", "restore", "work", "old", "adopt", "limited"]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9), st.integers(0, 12)), max_size=20))
# The old primary returns after the new one was adopted, or first used by a worker without permissions.
@example([("work", 0, 12), ("promote", 0, 12), ("adopt", 9, 12), ("old", 0, 12)])
@example([("work", 0, 12), ("promote", 0, 12), ("limited", 9, 12), ("work", 9, 12), ("old", 0, 12)])
@example([("work", 0, 12), ("restore", 0, 12), ("limited", 9, 12), ("work", 9, 12), ("old", 0, 12)])
# An unused standby returns after a restore elsewhere.
@example([("promote", 0, 12), ("restore", 0, 12), ("old", 0, 12), ("work", 9, 12), ("old", 1, 12)])
# A return from another system, which comes back; and an interrupted adoption.
@example([("work", 0, 12), ("restore", 0, 12), ("work", 9, 12), ("adopt", 0, 12), ("old", 1, 12)])
@example([("work", 0, 12), ("promote", 0, 12), ("adopt", 9, 1), ("old", 0, 12)])
def test_copy_in_use_excludes_the_copies_from_which_it_was_made(steps: list[tuple[str, int, int]]) -> None:
    cluster = Cluster()
    for what, number, until in steps:
        copy = cluster.copies[min(number, len(cluster.copies) - 1)]
        changes = ALL if until == 12 else until
        match what:
            case "promote":
                cluster.promote()
            case "restore":
                cluster.restore()
            case "work":
                cluster.work(cluster.newest, until=changes)
            case "old":
                cluster.work(copy)
            case "limited":
                cluster.work(cluster.newest, may_configure=False)
            case _:
                cluster.adopt(copy, until=changes)
    cluster.work(cluster.newest)


@given(st.integers(0, 9), st.integers(0, 9))
def test_ledger_of_an_older_version_counts_as_restored_after_any_end_of_its_first_workers(
    first: int, second: int
) -> None:
    cluster = Cluster()
    ledger = cluster.newest
    ledger.remembered = None
    cluster.model.exchanges["sms.ledger"] = {"alternate-exchange": "sms.ledger.ledger"}
    for until in (first, second, ALL):
        cluster.work(ledger, until=until)

    assert ledger.remembered == Remembered(FIRST, is_marked=True)
    assert ledger.restored == 1


@given(st.integers(0, 60), st.booleans())
def test_two_workers_that_meet_a_failover_at_once_both_accept_it(lookups: int, is_elsewhere: bool) -> None:
    cluster = Cluster()
    cluster.work(cluster.newest)
    (cluster.restore if is_elsewhere else cluster.promote)()
    cluster.model.lookups, cluster.model.interlude = lookups, lambda: cluster.work(cluster.newest)
    cluster.work(cluster.newest)

    assert cluster.newest.restored == 1
