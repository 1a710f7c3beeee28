"""PostgreSQL fails over: an old primary is never taken for the ledger, and what a standby lacks is not sent again."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.commands import run
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge
    from tests.harness.broker_client import BrokerClient
    from tests.harness.postgres import Postgres

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

#: Commands in flight when a worker is killed.
IN_FLIGHT = 12
#: Seconds that the provider takes to answer while they are to stay in flight.
LONG = 3.0


@pytest.fixture
def hurried(env: dict[str, str]) -> dict[str, str]:
    """Return a configuration in which a claim that was left is taken over soon."""
    return {
        **env,
        "BRIDGE_CPAAS__READ_TIMEOUT": "4",
        "BRIDGE_CPAAS__TOTAL_TIMEOUT": "5",
        "BRIDGE_WORKER__LEASE": "7",
        "BRIDGE_BROKER__HEARTBEAT": "2",
    }


def url_of(database: str, *servers: Postgres) -> dict[str, str]:
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return {"BRIDGE_LEDGER__URL": f"postgresql://bridge@{hosts}/{database}"}


def publish(amqp: BrokerClient, ids: Iterable[str]) -> None:
    """Publish commands, each to a number of its own."""
    for id_ in ids:
        number = f"+1613555{int(id_[1:]):04}"
        amqp.publish({"id": id_, "destination_address": number, "message": f"canary {id_}"})


def named(first: int, number: int) -> list[str]:
    return [f"c{index}" for index in range(first, first + number)]


def outcomes(amqp: BrokerClient, number: int, within: float) -> dict[str, str]:
    """Return the outcomes of `number` events by the ids of their commands."""
    return {event["subject"]: event["type"] for event in amqp.events(number, within=within)}


def sent(ids: Iterable[str]) -> dict[str, str]:
    return dict.fromkeys(ids, "sms.outbound.sent")


def texts(ids: Iterable[str]) -> list[str]:
    return sorted(f"canary {id_}" for id_ in ids)


def test_an_old_primary_that_returns_is_refused_and_nothing_is_sent_twice(
    own_pair: tuple[Postgres, Postgres],
    bridge_process: StartBridge,
    hurried: dict[str, str],
    provider: Provider,
    amqp: BrokerClient,
) -> None:
    old, new = own_pair
    database = old.new_database()
    left_behind = bridge_process("worker", env={**hurried, **url_of(database, old)})
    publish(amqp, ["c0"])
    first = outcomes(amqp, 1, within=20)
    wait_until(lambda: new.has(database), what="the standby has the database")
    new.promote()
    busy = bridge_process("worker", env={**hurried, **url_of(database, new)})
    # It is connected to the old primary, and to the broker, all the while.
    code_of_left_behind = left_behind.wait(within=20)
    provider.settings(latency=LONG)
    ids = named(1, IN_FLIGHT)
    publish(amqp, ids)
    wait_until(lambda: len(provider.texts()) == 1 + IN_FLIGHT, 20, what="all in flight")
    busy.kill()
    provider.settings(latency=0)
    unfenced = {**hurried, **url_of(database, old, new)}
    refused = bridge_process("worker", env=unfenced, ready=False)
    code = refused.wait(within=20)
    seen = run("doctor", env=unfenced)
    bridge_process("worker", env={**hurried, **url_of(database, new)})
    rest = outcomes(amqp, IN_FLIGHT, within=30)

    assert (code_of_left_behind, code) == (78, 78)
    for worker in (left_behind, refused):
        assert "an old copy of its database" in worker.logs
        assert "new primary" in worker.logs
    assert seen.code == 1
    assert "old primary" in seen.stdout
    assert first == sent(["c0"])
    assert rest == sent(ids)
    assert sorted(provider.texts()) == texts(["c0", *ids])


def test_what_a_standby_that_lagged_has_lost_is_not_sent_again(
    own_pair: tuple[Postgres, Postgres],
    bridge_process: StartBridge,
    hurried: dict[str, str],
    provider: Provider,
    amqp: BrokerClient,
) -> None:
    primary, standby = own_pair
    database = primary.new_database()
    env = {**hurried, **url_of(database, primary, standby)}
    workers = [bridge_process("worker", env=env) for _ in range(2)]
    known, lost, in_flight, fresh = named(0, 3), named(3, 15), named(18, IN_FLIGHT), named(30, 3)
    publish(amqp, known)
    published = outcomes(amqp, len(known), within=20)
    warned = run("doctor", env=env)
    wait_until(
        lambda: (
            standby.execute("SELECT count(*) FROM submissions WHERE state = 'sent'", database=database)
            == [(len(known),)]
        ),
        what="the standby has what was sent",
    )
    standby.fall_behind()
    publish(amqp, lost)
    published |= outcomes(amqp, len(lost), within=20)
    provider.settings(latency=LONG)
    publish(amqp, in_flight)
    wait_until(lambda: len(provider.texts()) == 18 + IN_FLIGHT, 20, what="all in flight")
    workers[0].kill()
    primary.kill()
    standby.promote()
    provider.settings(latency=0)
    rows = standby.execute("SELECT id FROM commands", database=database)
    # Nobody intervenes; a publisher that is not sure repeats what was sent.
    publish(amqp, [*lost, *fresh])
    published |= outcomes(amqp, len(in_flight) + len(lost) + len(fresh), within=40)
    ids = [*known, *lost, *in_flight, *fresh]

    known_then = {id_ for (id_,) in rows}
    assert known_then.issuperset(known)
    assert known_then.isdisjoint(lost), "the standby must lack what is repeated"
    assert sorted(provider.texts()) == texts(ids)
    assert published == sent(ids)
    assert "a failover may lose the last commits" in warned.stdout
    assert "synchronous_standby_names = 'ANY 1 (...)'" in warned.stdout
    assert "ledger.restored" in workers[1].logs
    assert workers[1].returncode is None
    assert workers[1].stop(signal.SIGTERM) == 0
