"""Which ledger a command queue has is noted on the broker: one, whoever comes first."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from amqp.exceptions import AccessRefused

from bridge.adapters.amqp.connection import Broker as Connection
from bridge.adapters.amqp.connection_thread import ConnectionDown
from bridge.adapters.amqp.ledger_identity import LedgerIdentity
from bridge.adapters.amqp.ledger_notes import LedgerMismatch, Notes
from bridge.app import parts
from bridge.domain.lineage import Lineage, Remembered
from bridge.ports import LedgerUnavailable
from bridge.settings import Settings
from tests.broker.amqp_setup import address
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.adapters.amqp.topology import Topology
    from tests.harness.broker import Broker

pytestmark = pytest.mark.broker

ONE = "oneoneoneoneoneoneon"
OTHER = "otherotherotherother"
MAX_AGE = 400.0
FIRST = Lineage.of_postgresql(7713980091317042706, 1)


def topology(prefix: str = "sms") -> Topology:
    return parts.topology(Settings.model_validate({"broker": {"prefix": prefix}}))


@pytest.fixture
def connection(vhost_url: str) -> Iterator[Connection]:
    opened = Connection.open(address(vhost_url), "test")
    yield opened
    opened.close()


class Copy:
    """A copy of a ledger: what its database would say, and what it was told."""

    def __init__(
        self,
        confirmed: list[str],
        *,
        identity: str = ONE,
        own: Lineage | None = None,
        remembered: Remembered | None = None,
    ) -> None:
        self.confirmed = confirmed
        self.identity = identity
        self.own = own
        self.remembered = remembered
        self.is_away = False

    def recall(self) -> tuple[Lineage | None, Remembered | None]:
        if self.is_away:
            raise LedgerUnavailable("away")
        return self.own, self.remembered

    def remember(self, own: Lineage, *, is_marked: bool) -> None:
        self.remembered = Remembered(own, is_marked)
        self.confirmed.append("marked" if is_marked else "not marked")

    def restore(self, own: Lineage, *, is_marked: bool, max_age: float) -> None:
        assert max_age == MAX_AGE
        self.remember(own, is_marked=is_marked)
        self.confirmed.append("restored")

    def rename(self, identity: str, own: Lineage | None) -> None:
        self.identity = identity
        if own is not None:
            self.remembered = Remembered(own, is_marked=True)
        self.confirmed.append("renamed")

    def confirm(self, own: Lineage | None) -> None:
        assert own == self.own
        self.confirmed.append("recognized")

    def promoted(self) -> Copy:
        """Return the copy that a standby of it is once it is promoted."""
        assert self.own is not None
        own = Lineage(self.own.system, self.own.timeline + 1)
        return self.copied(own)

    def copied(self, own: Lineage) -> Copy:
        """Return the copy that a backup of it is on another server."""
        return Copy(self.confirmed, identity=self.identity, own=own, remembered=self.remembered)

    def compare(self, connection: Connection, *, declares: bool = True) -> LedgerIdentity:
        identity = LedgerIdentity(self, max_age=MAX_AGE, mistaken=lambda _: self.confirmed.append("mistaken"))
        identity.compare(connection, topology(), declares=declares)
        return identity


def marker(identity: str, confirmed: list[str]) -> LedgerIdentity:
    return LedgerIdentity(
        Copy(confirmed, identity=identity), max_age=MAX_AGE, mistaken=lambda _: confirmed.append("mistaken")
    )


def test_the_first_ledger_is_noted_and_known_again(connection: Connection) -> None:
    confirmed: list[str] = []
    for _ in range(2):
        marker(ONE, confirmed).compare(connection, topology(), declares=True)

    assert confirmed == ["recognized", "recognized"]


def test_another_ledger_is_refused_with_both_names(connection: Connection) -> None:
    confirmed: list[str] = []
    marker(ONE, confirmed).compare(connection, topology(), declares=True)
    with pytest.raises(LedgerMismatch, match=f"{ONE}.*{OTHER}.*bridge ledger adopt"):
        marker(OTHER, confirmed).compare(connection, topology(), declares=True)

    assert confirmed == ["recognized", "mistaken"]


def test_names_too_long_for_the_brokers_reply_are_told_apart_all_the_same(connection: Connection) -> None:
    long = topology("p" * 120)
    Notes(connection, long, ONE).identify()
    Notes(connection, long, ONE).identify()

    with pytest.raises(LedgerMismatch, match=f"another ledger.*{OTHER}"):
        Notes(connection, long, OTHER).identify()


def test_each_prefix_has_a_ledger_of_its_own(connection: Connection) -> None:
    Notes(connection, topology("one"), ONE).identify()
    Notes(connection, topology("other"), OTHER).identify()


def test_of_many_that_come_first_at_once_one_is_noted(vhost_url: str) -> None:
    start = threading.Barrier(4)
    noted: list[str] = []
    refused: list[str] = []

    def come(identity: str) -> None:
        connection = Connection.open(address(vhost_url), "test")
        start.wait(timeout=10)
        try:
            Notes(connection, topology(), identity).identify()
            noted.append(identity)
        except LedgerMismatch as e:
            refused.append(str(e))
        connection.close()

    identities = [letter * 20 for letter in "abcd"]
    threads = [threading.Thread(target=come, args=(identity,)) for identity in identities]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)

    assert len(noted) == 1
    assert len(refused) == 3
    assert all(noted[0] in reason for reason in refused)


def test_whoever_may_not_note_and_declares_nothing_goes_on_unless_told_to_declare(
    rabbitmq: Broker, vhost: str
) -> None:
    name = f"reader-{vhost}"
    rabbitmq.add_user(vhost, name, "secret", configure="^$")
    url = rabbitmq.url(vhost).replace("guest:guest", f"{name}:secret")
    confirmed: list[str] = []
    connection = Connection.open(address(url), "test")
    marker(ONE, confirmed).compare(connection, topology(), declares=False)
    connection.close()

    assert confirmed == ["recognized"]


# -- copies of one ledger --------------------------------------------------------------------------


def test_a_new_copy_is_marked_and_the_old_one_is_refused(connection: Connection) -> None:
    confirmed: list[str] = []
    old = Copy(confirmed, own=FIRST, remembered=Remembered(FIRST, is_marked=True))
    old.compare(connection)
    new = old.promoted()
    new.compare(connection)
    with pytest.raises(LedgerMismatch, match=f"{FIRST}.*a newer one.*new primary"):
        old.compare(connection)
    new.compare(connection)

    assert confirmed == ["marked", "recognized", "marked", "restored", "recognized", "mistaken", "recognized"]


def test_a_worker_on_an_old_copy_finds_its_mark_gone_while_it_is_connected(
    connection: Connection, vhost_url: str
) -> None:
    confirmed: list[str] = []
    old = Copy(confirmed, own=FIRST, remembered=Remembered(FIRST, is_marked=True))
    watching = old.compare(connection)
    watching.ask(connection)
    connection.readable(1.0)
    connection.drain()
    assert not watching.is_due
    before = list(confirmed)
    other = Connection.open(address(vhost_url), "test")
    old.promoted().compare(other)
    other.close()
    watching.ask(connection)

    def refused() -> bool:
        connection.readable(0.1)
        connection.drain()
        try:
            if watching.is_due:
                watching.compare_again(connection, topology(), declares=True)
        except ConnectionDown:
            return True
        return False

    wait_until(refused, within=10, what="the old copy is refused")

    assert before == ["marked", "recognized"]
    assert confirmed[-1] == "mistaken"
    assert connection.connection.connected, "the connection is none the worse"


def test_a_ledger_that_has_moved_is_compared_on_the_same_connection(connection: Connection) -> None:
    confirmed: list[str] = []
    copy = Copy(confirmed, own=FIRST, remembered=Remembered(FIRST, is_marked=True))
    comparing = copy.compare(connection)
    copy.own = Lineage(FIRST.system, 2)
    assert not comparing.is_due
    comparing.moved()
    assert comparing.is_due
    comparing.compare_again(connection, topology(), declares=True)

    assert confirmed[2:] == ["marked", "restored", "recognized"]


def test_a_broker_that_was_made_anew_takes_the_copy_as_it_is(connection: Connection) -> None:
    confirmed: list[str] = []
    copy = Copy(confirmed, own=FIRST, remembered=Remembered(FIRST, is_marked=True))
    copy.compare(connection)

    assert confirmed == ["marked", "recognized"]


def test_a_failover_that_was_cut_short_is_noted_by_the_next_worker(connection: Connection) -> None:
    confirmed: list[str] = []
    old = Copy(confirmed, own=FIRST, remembered=Remembered(FIRST, is_marked=True))
    old.compare(connection)
    new = old.promoted()
    assert new.own is not None
    # As far as a worker gets that is killed before it changes the database.
    Notes(connection, topology(), ONE).identity(new.own)
    new.compare(connection)

    assert confirmed[2:] == ["marked", "restored", "recognized"]
    with pytest.raises(LedgerMismatch):
        old.compare(connection)


def test_an_old_primary_whose_mark_was_left_is_refused_by_the_later_mark(connection: Connection) -> None:
    confirmed: list[str] = []
    old = Copy(confirmed, own=FIRST, remembered=Remembered(FIRST, is_marked=True))
    old.compare(connection)
    # As far as a worker gets that is killed before it removes the mark of before.
    Notes(connection, topology(), ONE).identity(Lineage(FIRST.system, 3))
    with pytest.raises(LedgerMismatch, match="old copy"):
        old.compare(connection)


def limited_connection(rabbitmq: Broker, vhost: str) -> Connection:
    """Connect as a user who may configure nothing."""
    name = f"reader-{vhost}"
    rabbitmq.add_user(vhost, name, "secret", configure="^$")
    return Connection.open(address(rabbitmq.url(vhost).replace("guest:guest", f"{name}:secret")), "test")


def test_without_the_right_to_mark_a_copy_a_worker_goes_on_and_says_so(
    rabbitmq: Broker, vhost: str, connection: Connection
) -> None:
    confirmed: list[str] = []
    old = Copy(confirmed, own=FIRST, remembered=Remembered(FIRST, is_marked=True))
    old.compare(connection)
    new = old.promoted()
    limited = limited_connection(rabbitmq, vhost)
    for _ in range(2):
        new.compare(limited, declares=False)
    with pytest.raises(AccessRefused):
        new.promoted().compare(limited, declares=True)
    limited.close()

    assert confirmed[2:] == ["not marked", "restored", "recognized", "not marked", "recognized"]


def test_once_the_right_to_mark_is_given_the_old_primary_is_refused(
    rabbitmq: Broker, vhost: str, connection: Connection
) -> None:
    confirmed: list[str] = []
    old = Copy(confirmed, own=FIRST, remembered=Remembered(FIRST, is_marked=True))
    old.compare(connection)
    new = old.promoted()
    limited = limited_connection(rabbitmq, vhost)
    new.compare(limited, declares=False)
    limited.close()
    new.compare(connection)
    with pytest.raises(LedgerMismatch, match="an old copy"):
        old.compare(connection)
    new.compare(connection)

    assert confirmed[2:] == [
        *("not marked", "restored", "recognized"),
        *("marked", "recognized"),
        "mistaken",
        "recognized",
    ]


def test_a_ledger_that_is_away_is_compared_later(connection: Connection) -> None:
    confirmed: list[str] = []
    copy = Copy(confirmed, own=FIRST)
    copy.is_away = True
    with pytest.raises(ConnectionError, match="away"):
        copy.compare(connection)

    assert confirmed == []
