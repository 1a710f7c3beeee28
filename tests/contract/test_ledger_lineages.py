"""The lineage of a ledger in PostgreSQL: recognizing sessions, and recording a failover."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine

from bridge.adapters.store import open_ledger, open_receipts, open_seen, read_ledger
from bridge.adapters.store.facts import facts_of, remember
from bridge.adapters.store.tables import metadata
from bridge.domain.ledger import Call, ClockSet, Lookup, Restored
from bridge.domain.ledger.lost_rows import CLOCKS
from bridge.domain.lineage import Lineage, Remembered
from bridge.ports import LedgerUnavailable, LedgerUnusable
from tests.contract.test_ledger import RULES, claim, command
from tests.contract.test_ledger_sessions import database_of
from tests.harness.chaos_proxy import ChaosProxy
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from bridge.adapters.store.ledger import SqlLedger
    from tests.harness.pgbouncer import Pgbouncer
    from tests.harness.postgres import Postgres

MAX_AGE = 400.0


def confirmed(ledger: SqlLedger) -> Lineage:
    """Confirm the lineage of the ledger, as a worker does after comparing it with the broker."""
    own, remembered = ledger.lineages.recall()
    assert own is not None
    assert remembered == Remembered(own, is_marked=True)
    ledger.lineages.confirm(own)
    return own


def test_promoted_standby_is_used_after_comparison_and_the_old_primary_is_refused(
    own_pair: tuple[Postgres, Postgres],
) -> None:
    old, new = own_pair
    database = old.new_database()
    with (
        ChaosProxy(("127.0.0.1", old.port)) as proxy,
        closing(open_ledger(old.url(database, proxy.port))) as ledger,
    ):
        first = confirmed(ledger)
        now = ledger.time()
        assert now is not None
        ledger.apply([claim(of=command("known"), now=now)])
        wait_until(
            lambda: (
                new.has(database)
                and new.execute("SELECT to_regclass('commands')", database=database) != [(None,)]
                and new.execute("SELECT 1 FROM commands", database=database)
            ),
            what="the standby has the command",
        )
        new.promote()
        proxy.lead_to(("127.0.0.1", new.port))
        asked = threading.Event()
        ledger.lineages.on_moved = asked.set
        with pytest.raises(LedgerUnavailable, match="compared with the broker"):
            ledger.apply([claim(of=command("early"))])

        second, remembered = ledger.lineages.recall()
        assert second == Lineage(first.system, first.timeline + 1)
        assert remembered == Remembered(first, is_marked=True)
        ledger.lineages.restore(second, is_marked=True, max_age=MAX_AGE)
        noted = ledger.lineages.restored
        # Another worker has noticed the failover at the same time, and records nothing.
        ledger.lineages.restore(second, is_marked=True, max_age=MAX_AGE)
        assert ledger.lineages.restored == noted
        assert noted is not None
        assert noted.since == now - CLOCKS
        ledger.lineages.confirm(second)
        # A process from before the failover was noticed: it has waited for the database.
        [looked, known] = ledger.apply(
            [claim(of=command("lost"), now=noted.at), claim(of=command("known"), now=noted.at, owner="one")]
        )

        proxy.lead_to(("127.0.0.1", old.port))
        with pytest.raises(LedgerUnusable, match="old primary"):
            ledger.apply([claim(of=command("late"))])

    assert asked.is_set()
    assert isinstance(looked, Lookup)
    assert isinstance(known, Call)
    assert new.execute("SELECT id FROM commands ORDER BY id", database=database) == [("known",), ("lost",)]
    assert old.execute("SELECT id FROM commands", database=database) == [("known",)]


def test_change_waits_briefly_for_the_comparison(own_pair: tuple[Postgres, Postgres]) -> None:
    old, new = own_pair
    database = old.new_database()
    url = f"postgresql://bridge@127.0.0.1:{old.port},127.0.0.1:{new.port}/{database}"
    with closing(open_ledger(url)) as ledger:
        confirmed(ledger)
        wait_until(lambda: new.has(database), what="the standby has the database")
        old.kill()
        new.promote()

        def compare() -> None:
            own, _ = ledger.lineages.recall()
            assert own is not None
            ledger.lineages.restore(own, is_marked=True, max_age=MAX_AGE)
            ledger.lineages.confirm(own)

        ledger.lineages.on_moved = lambda: threading.Thread(target=compare).start()
        results: list[object] = []

        def applied() -> bool:
            try:
                results.extend(ledger.apply([claim(of=command("lost"))]))
            except LedgerUnavailable as e:
                assert "compared with the broker" not in str(e)  # noqa: PT017 - the session was lost, at first
                return False
            return True

        wait_until(applied, within=10, what="a change on the new primary")

    assert isinstance(results[0], Call | Lookup)


def test_process_that_does_not_compare_the_ledger_refuses_older_primaries(
    own_pair: tuple[Postgres, Postgres],
) -> None:
    old, new = own_pair
    database = old.new_database()
    open_ledger(old.url(database)).close()
    wait_until(
        lambda: (
            new.has(database)
            and new.execute("SELECT to_regclass('notifications')", database=database) != [(None,)]
        ),
        what="the standby has the tables",
    )
    both = f"postgresql://bridge@127.0.0.1:{old.port},127.0.0.1:{new.port}/{database}"
    new.promote()
    with closing(open_seen(old.url(database))) as seen:
        seen.note(["early"], 1.0)
    open_ledger(new.url(database)).close()
    with (
        closing(open_seen(both)) as seen,
        closing(open_receipts(both)) as receipts,
        closing(open_seen(old.url(database))) as astray,
    ):
        seen.note(["late"], 2.0)
        receipts.end((), ["told"], 3.0)
        with pytest.raises(
            LedgerUnavailable, match="old primary: its timeline is 1, and 2 was seen before; stop"
        ):
            astray.note(["lost"], 4.0)

    kept = "SELECT event_id FROM notifications ORDER BY event_id"
    assert old.execute(kept, database=database) == [("early",)]
    assert new.execute(kept, database=database) == [("late",), ("told",)]


def test_lineage_is_checked_in_each_transaction_behind_a_pooler(
    own_pair: tuple[Postgres, Postgres], pgbouncer: Pgbouncer
) -> None:
    old, new = own_pair
    database = old.new_database()
    pgbouncer.stop()
    with ChaosProxy(("127.0.0.1", old.port)) as proxy:
        pgbouncer.start(target=proxy.port)
        with closing(open_ledger(pgbouncer.url(database))) as ledger:
            first = confirmed(ledger)
            ledger.apply([claim(of=command("known"))])
            wait_until(lambda: new.has(database), what="the standby has the database")
            new.promote()
            proxy.lead_to(("127.0.0.1", new.port))

            def moved() -> bool:
                try:
                    ledger.apply([claim(of=command("early"))])
                except LedgerUnavailable as e:
                    return "compared with the broker" in str(e)
                return False

            wait_until(moved, within=20, what="the other server behind the pooler")
            own, _ = ledger.lineages.recall()

    assert own == Lineage(first.system, first.timeline + 1)


def test_server_that_does_not_report_its_timeline_is_used_without_it(
    postgresql: Postgres, postgresql_url: str
) -> None:
    database = database_of(postgresql_url)
    open_ledger(postgresql_url).close()
    postgresql.execute("CREATE ROLE plain LOGIN")
    try:
        postgresql.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO plain", database=database)
        plain = postgresql_url.replace("bridge@", "plain@")
        with closing(read_ledger(plain)) as reader:
            readable = reader.summary().lineage
        postgresql.execute(
            "REVOKE EXECUTE ON FUNCTION pg_walfile_name(pg_lsn) FROM PUBLIC", database=database
        )
        with closing(open_ledger(plain)) as ledger:
            own, remembered = ledger.lineages.recall()
            ledger.lineages.confirm(own)
            [verdict] = ledger.apply([claim()])
            # Once it is readable again, its lineage is not recorded under the new name.
            ledger.lineages.rename("another", own)
            unmarked = ledger.lineages.recall()
    finally:
        postgresql.execute("DROP OWNED BY plain", database=database)
        postgresql.execute("DROP ROLE plain")

    assert readable is not None
    assert unmarked == (None, Remembered(readable, is_marked=False))
    assert own is None
    assert remembered == Remembered(readable, is_marked=True)
    assert isinstance(verdict, Call)


def test_last_commit_is_unknown_after_the_clock_was_set(postgresql_url: str) -> None:
    with closing(open_ledger(postgresql_url)) as ledger:
        now = ledger.time()
        assert now is not None
        ledger.apply([claim(now=now), ClockSet(now=now, rules=RULES)])
        ledger.lineages.adopt(now, is_backup=True, max_age=MAX_AGE)

        assert ledger.lineages.restored == Restored(at=now, since=now - MAX_AGE)


def test_previous_lineage_is_remembered_until_it_is_removed_from_the_broker() -> None:
    first, second = (Lineage.of_postgresql(1, timeline) for timeline in (1, 2))
    elsewhere = Lineage.of_postgresql(2, 1)
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    remembered = []
    with engine.begin() as connection:
        for lineage, is_marked in [(first, True), (second, False), (elsewhere, False), (elsewhere, True)]:
            remember(connection, lineage, is_marked=is_marked)
            remembered.append(facts_of(connection).remembered)
    engine.dispose()

    assert remembered == [
        Remembered(first, is_marked=True),
        Remembered(second, is_marked=False, left=first),
        Remembered(elsewhere, is_marked=False, left=first),
        Remembered(elsewhere, is_marked=True),
    ]
