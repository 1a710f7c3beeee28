"""A PostgreSQL server whose commits wait for standbys, as `bridge doctor` reports it."""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.store import open_ledger
from bridge.adapters.store.replication import needed_standbys, wanted_standbys
from bridge.app.doctor_records import check_ledger
from bridge.settings import load
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.postgres import Postgres

STUCK = "every commit waits for a standby: synchronous_standby_names is set, and none of them replicates"
LOST = "a failover may lose the last commits: no commit waits for one of the 1 standbys"


@pytest.mark.parametrize(
    ("names", "needed", "wanted"),
    [
        ("", 0, set()),
        (" ", 0, set()),
        ("*", 1, {"*"}),
        ("s1", 1, {"s1"}),
        ("S1, s2", 1, {"s1", "s2"}),
        ("ANY 1 (s1,s2)", 1, {"s1", "s2"}),
        ("first 2 (s1, s2, s3)", 2, {"s1", "s2", "s3"}),
        ("3 (a, b, c)", 3, {"a", "b", "c"}),
        ('ANY 2("rack ""a"", 1", *)', 2, {'rack "a", 1', "*"}),
        ("any1", 1, {"any1"}),
    ],
)
def test_setting_is_parsed_into_number_and_names_of_standbys(
    names: str, needed: int, wanted: set[str]
) -> None:
    assert needed_standbys(names) == needed
    assert wanted_standbys(names) == frozenset(wanted)


def said(url: str) -> list[tuple[str, str]]:
    """Return doctor's findings about the server, without those about the ledger."""
    settings = load({"ledger": {"url": url}}, {}, lambda _: "")
    return [
        (lookup_result.level.name.lower(), lookup_result.seen)
        for lookup_result in check_ledger(settings, ["worker"])
    ][1:-1]


@contextmanager
def waiting_for(server: Postgres, names: str) -> Iterator[None]:
    """Make commits wait for the standbys with these names, and for none afterwards."""

    def wait_for(names: str) -> None:
        server.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        server.execute("SELECT pg_reload_conf()")
        wait_until(lambda: server.execute("SHOW synchronous_standby_names") == [(names,)], what="the setting")

    wait_for(names)
    try:
        yield
    finally:
        wait_for("")


def test_doctor_reports_hanging_commits_and_does_not_hang(
    own_pair: tuple[Postgres, Postgres],
) -> None:
    primary, standby = own_pair
    database = primary.new_database()
    url = primary.url(database)
    with closing(open_ledger(url)):
        pass
    primary.execute("CREATE ROLE plain LOGIN")
    primary.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO plain", database=database)
    plain = url.replace("bridge@", "plain@")
    alone = [said(url), said(plain)]
    with waiting_for(primary, "ANY 1 (walreceiver)"):
        kept = [said(url), said(plain)]
    with waiting_for(primary, "ANY 2 (walreceiver, other)"):
        one_of_two = [said(url), said(plain)]
    with waiting_for(primary, "other"):
        hanging = threading.Thread(target=lambda: primary.execute("CREATE TABLE t ()", database=database))
        hanging.start()
        wait_until(
            lambda: primary.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"),
            what="a commit that hangs",
        )
        misnamed = [said(url), said(plain)]
    hanging.join(timeout=20)
    standby.kill()
    wait_until(lambda: not primary.execute("SELECT 1 FROM pg_stat_replication"), what="no standby")
    with waiting_for(primary, "walreceiver"):
        gone = [said(url), said(plain)]

    assert not hanging.is_alive()
    assert alone == [[("warn", LOST)]] * 2
    assert kept == [[]] * 2
    assert (
        one_of_two
        == [
            [
                (
                    "fail",
                    "every commit waits for 2 standbys: synchronous_standby_names is set, and only 1 replicate",
                )
            ]
        ]
        * 2
    )
    assert misnamed == [[("fail", STUCK)]] * 2
    assert gone == [[("fail", STUCK)]] * 2
