"""`bridge ledger adopt`: the command queue gets another ledger, or another copy of its ledger, and no other is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import amqp
import pytest

from bridge.adapters.amqp.adoption import QueueInUse, adopt
from bridge.adapters.amqp.connection import Broker as Connection
from bridge.adapters.amqp.connection_thread import ConnectionDown
from bridge.adapters.amqp.ledger_notes import LedgerMismatch, Notes
from bridge.adapters.amqp.topology import declare
from bridge.domain.lineage import Lineage, Remembered
from tests.broker.amqp_setup import address
from tests.broker.test_ledger_identity import FIRST, ONE, OTHER, Copy, topology
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.adapters.amqp.ledger_identity import LedgerIdentity
    from tests.harness.broker import Broker

pytestmark = pytest.mark.broker

NEW = "newnewnewnewnewnewne"
ELSEWHERE = Lineage.of_postgresql(7713980091317042707, 1)


@pytest.fixture
def connection(vhost_url: str) -> Iterator[Connection]:
    opened = Connection.open(address(vhost_url), "test")
    yield opened
    opened.close()


def ignore(_is_backup: bool) -> None:
    """Record nothing."""


def marked(confirmed: list[str], own: Lineage = FIRST, identity: str = ONE) -> Copy:
    return Copy(confirmed, identity=identity, own=own, remembered=Remembered(own, is_marked=True))


def finds_out(connection: Connection, watching: LedgerIdentity) -> Callable[[], bool]:
    """Return whether a worker that is connected has found out that its ledger is not valid."""

    def found_out() -> bool:
        connection.readable(0.1)
        connection.drain()
        try:
            watching.compare_again(connection, topology(), declares=True)
        except ConnectionDown:
            return True
        return False

    return found_out


def test_adopting_changes_the_note_after_it_was_recorded(connection: Connection, vhost_url: str) -> None:
    Notes(connection, topology(), ONE).identify()
    recorded: list[str] = []

    def record(is_backup: bool) -> None:
        Notes(connection, topology(), ONE).identify()
        recorded.append("a backup" if is_backup else "another")

    adopted = Copy([], identity=OTHER)
    adopt(address(vhost_url), topology(), adopted, NEW, record)

    assert recorded == ["another"]
    assert adopted.confirmed == ["renamed"]
    Notes(connection, topology(), NEW).identify()
    with pytest.raises(LedgerMismatch):
        Notes(connection, topology(), ONE).identify()


def test_nothing_is_adopted_while_workers_consume(connection: Connection, vhost_url: str) -> None:
    declare(connection, topology())
    Notes(connection, topology(), ONE).identify()
    channel: Any = connection.channel()
    channel.basic_consume(topology().command_queue, callback=lambda _: None)
    recorded: list[bool] = []
    adopted = Copy([], identity=OTHER)
    with pytest.raises(QueueInUse, match="1 consumers"):
        adopt(address(vhost_url), topology(), adopted, NEW, recorded.append)

    assert recorded == []
    assert adopted.confirmed == []
    Notes(connection, topology(), ONE).identify()


def test_nothing_is_adopted_while_the_queue_has_no_leader_that_could_count_consumers(
    rabbitmq: Broker, vhost: str, connection: Connection, vhost_url: str
) -> None:
    declare(connection, topology())
    Notes(connection, topology(), ONE).identify()
    channel: Any = connection.channel()
    channel.basic_consume(topology().command_queue, callback=lambda _: None)
    recorded: list[bool] = []
    adopted = Copy([], identity=OTHER)
    with (
        rabbitmq.without_leader(vhost, topology().command_queue),
        pytest.raises(ConnectionError, match=r"^the queue sms\.send has no leader that answers.*members"),
    ):
        adopt(address(vhost_url), topology(), adopted, NEW, recorded.append)

    assert (recorded, adopted.confirmed) == ([], [])
    with pytest.raises(QueueInUse):
        adopt(address(vhost_url), topology(), adopted, NEW, recorded.append)


@pytest.mark.parametrize("waiting", [0, 3])
def test_adopting_takes_nothing_off_the_queue(
    rabbitmq: Broker, vhost: str, connection: Connection, vhost_url: str, waiting: int
) -> None:
    declare(connection, topology())
    channel: Any = connection.channel()
    channel.confirm_select()
    for _ in range(waiting):
        channel.basic_publish_confirm(amqp.Message(b"{}"), routing_key=topology().command_queue)
    adopt(address(vhost_url), topology(), Copy([], identity=OTHER), NEW, ignore)

    assert rabbitmq.held(vhost, topology().command_queue) == waiting
    assert rabbitmq.consumers(vhost, topology().command_queue) == 0
    Notes(connection, topology(), NEW).identify()


def test_a_broker_that_is_not_there_records_nothing() -> None:
    recorded: list[bool] = []
    adopted = Copy([], identity=OTHER)
    with pytest.raises(ConnectionError):
        adopt(address("amqp://127.0.0.1:1/x"), topology(), adopted, NEW, recorded.append)

    assert (recorded, adopted.confirmed) == ([], [])


@pytest.mark.parametrize("own", [None, FIRST], ids=["a file", "a database"])
def test_a_worker_that_runs_notices_that_another_ledger_was_adopted(
    connection: Connection, vhost_url: str, own: Lineage | None
) -> None:
    confirmed: list[str] = []
    watching = (Copy(confirmed) if own is None else marked(confirmed)).compare(connection)
    watching.ask(connection)
    # Without a consumer: the command line's look at the queue does not see that it runs.
    adopt(address(vhost_url), topology(), marked([], ELSEWHERE, OTHER), NEW, ignore)
    before = list(confirmed)
    watching.ask(connection)
    wait_until(finds_out(connection, watching), within=10, what="the replaced ledger is refused")

    assert "mistaken" not in before
    assert confirmed[-1] == "mistaken"
    assert connection.connection.connected, "the connection is none the worse"


def test_after_adopting_the_new_primary_the_old_one_is_refused(
    connection: Connection, vhost_url: str
) -> None:
    confirmed: list[str] = []
    old = marked(confirmed)
    old.compare(connection)
    new = old.promoted()
    found: list[bool] = []
    adopt(address(vhost_url), topology(), new, NEW, found.append)
    new.compare(connection)
    with pytest.raises(LedgerMismatch, match=f"{NEW}.*{ONE}"):
        old.compare(connection)
    new.compare(connection)

    assert found == [True]
    assert confirmed[2:] == ["renamed", "recognized", "mistaken", "recognized"]


@pytest.mark.parametrize("later", [Lineage(FIRST.system, 2), ELSEWHERE], ids=["failover", "restore"])
def test_an_operator_goes_back_to_an_old_copy_on_purpose(
    connection: Connection, vhost_url: str, later: Lineage
) -> None:
    confirmed: list[str] = []
    old = marked(confirmed)
    old.compare(connection)
    new = old.copied(later)
    watching = new.compare(connection)
    adopt(address(vhost_url), topology(), old, NEW, ignore)
    # A worker on the newer copy was connected all the while; then that copy returns.
    watching.ask(connection)
    wait_until(finds_out(connection, watching), within=10, what="the newer copy is refused")
    old.compare(connection)
    with pytest.raises(LedgerMismatch):
        new.compare(connection)
    # The next failover has the number of the one before.
    newest = old.promoted()
    newest.compare(connection)
    for superseded in (old, new):
        with pytest.raises(LedgerMismatch):
            superseded.compare(connection)
    newest.compare(connection)


def test_workers_without_rights_are_refused_by_the_marks_alone(
    rabbitmq: Broker, vhost: str, connection: Connection, vhost_url: str
) -> None:
    name = f"reader-{vhost}"
    rabbitmq.add_user(vhost, name, "secret", configure="^$")
    url = rabbitmq.url(vhost).replace("guest:guest", f"{name}:secret")
    old = marked([])
    old.compare(connection)
    adopt(address(vhost_url), topology(), old.promoted(), NEW, ignore)
    limited = Connection.open(address(url), "test")
    with pytest.raises(LedgerMismatch, match="old copy"):
        old.compare(limited, declares=False)
    limited.close()


def test_adopting_again_after_an_interruption_makes_it_whole(connection: Connection, vhost_url: str) -> None:
    class Ends(Exception):
        """The command is killed."""

    class Killed(Copy):
        def rename(self, identity: str, own: Lineage | None) -> None:
            raise Ends

    confirmed: list[str] = []
    old = marked(confirmed)
    old.compare(connection)
    killed = Killed(confirmed, own=Lineage(FIRST.system, 2), remembered=old.remembered)
    with pytest.raises(Ends):
        adopt(address(vhost_url), topology(), killed, NEW, ignore)
    new = old.promoted()
    for copy in (old, new):
        with pytest.raises(LedgerMismatch, match="bridge ledger adopt"):
            copy.compare(connection)
    adopt(address(vhost_url), topology(), new, OTHER, ignore)
    new.compare(connection)
    with pytest.raises(LedgerMismatch):
        old.compare(connection)
