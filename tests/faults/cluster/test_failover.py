"""PostgreSQL fails over under load: to a synchronous standby, to one that lags; an old primary returns unfenced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.cluster.test_nodes import BEGIN, LOAD, RATE, pass_by
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from tests.faults.cluster.conftest import MakeClusterScenario
    from tests.harness.postgres import Postgres

pytestmark = [pytest.mark.broker, pytest.mark.acceptance, pytest.mark.cluster]

#: Seconds until the standby is promoted, as a manager of a cluster takes.
NOTICED = 4.0
#: Seconds by which the standby lags.
BEHIND = 6.0
#: Commands that a publisher repeats, not knowing that they were sent.
REPEATED = 15


def url_of(database: str, *servers: Postgres) -> str:
    hosts = "&".join(f"host=127.0.0.1:{server.port}" for server in servers)
    return f"postgresql+psycopg://bridge@/{database}?{hosts}&target_session_attrs=read-write"


def wait_for_standby(primary: Postgres, names: str) -> None:
    """Have commits wait for the standbys of these `names`; none wait for "" alone."""
    primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
    primary.execute("SELECT pg_reload_conf()")
    state = "sync" if names else "async"
    wait_until(
        lambda: primary.execute("SELECT sync_state FROM pg_stat_replication") in ([(state,)], []),
        what=f"a standby that is {state}",
    )


def test_failover_to_a_synchronous_standby_costs_its_duration_only(
    own_pair: tuple[Postgres, Postgres], make_cluster_scenario: MakeClusterScenario
) -> None:
    primary, standby = own_pair
    database = primary.new_database()
    wait_for_standby(primary, "*")
    name = f"PostgreSQL failover to a synchronous standby after {NOTICED:g} s"
    with make_cluster_scenario(name, ledger=url_of(database, primary, standby)) as scenario:
        scenario.start_all().load(LOAD, RATE).wait_load(BEGIN)
        primary.kill()
        pass_by(NOTICED)
        standby.promote()
        scenario.fired["failovers"] += 1
        scenario.wait_load()
        scenario.kept(within=120)


def test_failover_to_a_lagging_standby_repeats_no_sms_when_commands_are_repeated(
    own_pair: tuple[Postgres, Postgres], make_cluster_scenario: MakeClusterScenario
) -> None:
    primary, standby = own_pair
    database = primary.new_database()
    name = f"PostgreSQL failover to a standby {BEHIND:g} s behind, a worker killed, {REPEATED} ids repeated"
    with make_cluster_scenario(name, ledger=url_of(database, primary, standby)) as scenario:
        scenario.start_all().load(LOAD, RATE).wait_load(BEGIN)
        standby.fall_behind()
        pass_by(BEHIND)
        scenario.kill(scenario.workers[1])
        primary.kill()
        forgotten = [entry["message"] for entry in scenario.provider.journal()][-REPEATED:]
        pass_by(NOTICED)
        standby.promote()
        scenario.fired["failovers"] += 1
        scenario.restored = True
        scenario.resumes()
        scenario.repeat(forgotten)
        scenario.fired["commands repeated"] = len(forgotten)
        scenario.wait_load()
        scenario.kept(within=180)


def test_returning_unfenced_old_primary_is_refused(
    own_pair: tuple[Postgres, Postgres], make_cluster_scenario: MakeClusterScenario
) -> None:
    old, new = own_pair
    database = old.new_database()
    wait_for_standby(old, "*")
    with make_cluster_scenario(
        "old primary back without fencing", ledger=url_of(database, new, old)
    ) as scenario:
        scenario.start_all().load(LOAD, RATE).wait_load(BEGIN)
        old.kill()
        pass_by(NOTICED)
        new.promote()
        scenario.resumes()
        old.start()
        wait_for_standby(old, "")
        scenario.fired["old primaries back"] += 1
        scenario.kill(scenario.workers[1])
        unfenced = scenario.start(ready=False, LEDGER__URL=url_of(database, old, new))
        code = unfenced.wait(60)
        scenario.killed.add(unfenced)
        unfenced.kill()
        scenario.start()
        scenario.wait_load()
        scenario.kept(within=180)

        assert code == 78
