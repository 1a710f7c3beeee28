"""Which ledger a command queue has is noted on the broker: one, whoever comes first."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from bridge.adapters.amqp import mark
from bridge.adapters.amqp.connection import Broker as Connection
from bridge.adapters.amqp.mark import LedgerMark, LedgerMismatch, QueueInUse
from bridge.adapters.amqp.topology import Topology, declare
from tests.broker.amqp_setup import address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.broker_harness import Broker

pytestmark = pytest.mark.broker

ONE = "oneoneoneoneoneoneon"
OTHER = "otherotherotherother"


def topology(prefix: str = "sms") -> Topology:
    return Topology(
        prefix=prefix,
        commands_exchange=f"{prefix}.commands",
        command_queue=f"{prefix}.send",
        events_exchange=f"{prefix}.events",
        unrouted_queue=f"{prefix}.unrouted",
        dead_queue=f"{prefix}.dead",
        given_up_queue=f"{prefix}.given_up",
    )


@pytest.fixture
def connection(vhost_url: str) -> Iterator[Connection]:
    opened = Connection.open(address(vhost_url), "test")
    yield opened
    opened.close()


def marker(identity: str, told: list[str]) -> LedgerMark:
    return LedgerMark(
        identity=identity,
        recognized=lambda: told.append("recognized"),
        mistaken=lambda _: told.append("mistaken"),
    )


def test_the_first_ledger_is_noted_and_known_again(connection: Connection) -> None:
    told: list[str] = []
    for _ in range(2):
        marker(ONE, told).compare(connection, topology(), declares=True)

    assert told == ["recognized", "recognized"]


def test_another_ledger_is_refused_with_both_names(connection: Connection) -> None:
    told: list[str] = []
    marker(ONE, told).compare(connection, topology(), declares=True)
    with pytest.raises(LedgerMismatch, match=f"{ONE}.*{OTHER}.*bridge ledger adopt"):
        marker(OTHER, told).compare(connection, topology(), declares=True)

    assert told == ["recognized", "mistaken"]


def test_names_too_long_for_the_brokers_reply_are_told_apart_all_the_same(connection: Connection) -> None:
    long = topology("p" * 120)
    mark.note(connection, long, ONE)
    mark.note(connection, long, ONE)

    with pytest.raises(LedgerMismatch, match=f"another ledger.*{OTHER}"):
        mark.note(connection, long, OTHER)


def test_each_prefix_has_a_ledger_of_its_own(connection: Connection) -> None:
    mark.note(connection, topology("one"), ONE)
    mark.note(connection, topology("other"), OTHER)


def test_of_many_that_come_first_at_once_one_is_noted(vhost_url: str) -> None:
    start = threading.Barrier(4)
    noted: list[str] = []
    refused: list[str] = []

    def come(identity: str) -> None:
        connection = Connection.open(address(vhost_url), "test")
        start.wait(timeout=10)
        try:
            mark.note(connection, topology(), identity)
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


def test_adopting_changes_the_note_after_it_was_recorded(connection: Connection, vhost_url: str) -> None:
    mark.note(connection, topology(), ONE)
    recorded: list[str] = []

    def record() -> None:
        mark.note(connection, topology(), ONE)
        recorded.append("recorded")

    mark.adopt(address(vhost_url), topology(), OTHER, record)

    assert recorded == ["recorded"]
    mark.note(connection, topology(), OTHER)
    with pytest.raises(LedgerMismatch):
        mark.note(connection, topology(), ONE)


def test_nothing_is_adopted_while_somebody_consumes(connection: Connection, vhost_url: str) -> None:
    declare(connection, topology())
    mark.note(connection, topology(), ONE)
    channel: Any = connection.channel()
    channel.basic_consume(topology().command_queue, callback=lambda _: None)
    recorded: list[str] = []
    with pytest.raises(QueueInUse, match="1 consumers"):
        mark.adopt(address(vhost_url), topology(), OTHER, lambda: recorded.append("recorded"))

    assert recorded == []
    mark.note(connection, topology(), ONE)


def test_whoever_may_not_note_and_declares_nothing_goes_on_unless_told_to_declare(
    rabbitmq: Broker, vhost: str
) -> None:
    name = f"reader-{vhost}"
    rabbitmq.add_user(vhost, name, "secret", configure="^$")
    url = rabbitmq.url(vhost).replace("guest:guest", f"{name}:secret")
    told: list[str] = []
    connection = Connection.open(address(url), "test")
    marker(ONE, told).compare(connection, topology(), declares=False)
    connection.close()

    assert told == ["recognized"]


def test_a_broker_that_is_not_there_records_nothing() -> None:
    recorded: list[str] = []
    with pytest.raises(ConnectionError):
        mark.adopt(address("amqp://127.0.0.1:1/x"), topology(), ONE, lambda: recorded.append("recorded"))

    assert recorded == []
