"""What only PostgreSQL does: sessions that end, servers that die or stand still, locks that others hold."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.store import open_ledger, open_seen, read_ledger
from bridge.adapters.store.postgresql import LEDGER_NUMBER, MOST_LOCKS, open_postgresql
from bridge.domain.evidence import Evidence
from bridge.domain.ledger import Call, HasOutcome, NotBefore, ObservedMessage
from bridge.domain.ledger_url import PostgresDatabase, read_ledger_url
from bridge.domain.outcomes import Outcome
from bridge.ports import ChangeRefused, LedgerUnavailable, LedgerUnusable
from tests.contract.test_ledger import claim, command, file, recorded, resolve
from tests.harness.commands import NOW
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bridge.adapters.store.ledger import SqlLedger
    from tests.harness.postgres import Postgres


@pytest.fixture
def ledger(postgresql_url: str) -> Iterator[SqlLedger]:
    opened = open_postgresql(parameters_of(postgresql_url), statement_timeout=0.5)
    yield opened
    opened.close()


def parameters_of(url: str) -> Mapping[str, str]:
    named = read_ledger_url(url)
    assert isinstance(named, PostgresDatabase)
    return named.parameters


def database_of(url: str) -> str:
    return url.rpartition("/")[2]


def test_the_short_url_is_the_same_ledger(ledger: SqlLedger, postgresql_url: str) -> None:
    other = open_ledger(postgresql_url.replace("postgresql+psycopg:", "postgresql:"))
    other.close()

    assert other.identity == ledger.identity


def test_a_session_that_ended_while_idle_is_no_trouble(
    ledger: SqlLedger, postgresql: Postgres, postgresql_url: str
) -> None:
    ledger.apply([claim()])
    ended = postgresql.end_sessions(database_of(postgresql_url))

    assert ended == 1
    assert recorded(ledger.apply([file()])[0]).stored_event is not None


def test_a_server_that_was_killed_and_came_back_has_kept_what_was_committed(
    ledger: SqlLedger, postgresql: Postgres
) -> None:
    ledger.apply([claim()])
    postgresql.kill()
    with pytest.raises(LedgerUnavailable):
        ledger.apply([file()])
    postgresql.start()
    outcome = recorded(ledger.apply([file()])[0])
    postgresql.restart()
    [stored_event] = ledger.apply([claim(owner="two")])

    assert isinstance(stored_event, HasOutcome)
    assert stored_event.stored_event == outcome.stored_event


def test_a_session_that_is_ended_in_the_middle_leaves_nothing(
    ledger: SqlLedger, postgresql: Postgres, postgresql_url: str
) -> None:
    class Ending:
        """A change during which the server ends the session."""

        read_set = claim().read_set

        def apply(self, _unit: object) -> None:
            postgresql.end_sessions(database_of(postgresql_url))

    with pytest.raises(LedgerUnavailable, match=r"AdminShutdown|OperationalError"):
        ledger.apply([claim(), Ending()])

    assert isinstance(ledger.apply([claim(owner="two")])[0], Call)


def test_locks_that_another_holds_for_too_long_make_it_unavailable_not_wait(
    ledger: SqlLedger, postgresql: Postgres, postgresql_url: str
) -> None:
    with postgresql.connect(database_of(postgresql_url)) as holder, holder.transaction():
        holder.execute("SELECT pg_advisory_xact_lock(%s)", (LEDGER_NUMBER,))
        started = time.monotonic()
        with pytest.raises(LedgerUnavailable, match="timeout"):
            ledger.apply([claim()])
        waited = time.monotonic() - started

    assert 0.4 < waited < 5
    assert isinstance(ledger.apply([claim()])[0], Call)


def test_a_server_that_stands_still_makes_it_unavailable_not_wait(
    ledger: SqlLedger, postgresql: Postgres
) -> None:
    ledger.apply([claim()])
    postgresql.freeze()
    try:
        started = time.monotonic()
        with pytest.raises(LedgerUnavailable, match="no answer within"):
            ledger.apply([claim(of=command("order-18"))])
        waited = time.monotonic() - started
    finally:
        postgresql.thaw()

    assert waited < 15
    assert isinstance(ledger.apply([claim()])[0], Call)


def test_a_server_that_is_not_there_is_said_without_the_password() -> None:
    with pytest.raises(LedgerUnavailable, match="Connection refused") as caught:
        open_ledger(f"postgresql+psycopg://bridge:hunter2@127.0.0.1:{free_port()}/ledger")

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_can_not_hold_every_text_is_refused_with_what_to_do(
    postgresql_url: str, postgresql: Postgres, encoding: str
) -> None:
    other = postgresql.url(postgresql.new_database(encoding))

    open_ledger(postgresql_url).close()
    for opens in (open_ledger, open_seen, lambda url: read_ledger(url).summary()):
        with pytest.raises(LedgerUnusable, match=f"encoding {encoding}: make one with"):
            opens(other)


def test_rights_that_are_missing_are_named_without_touching_anything(
    postgresql_url: str, postgresql: Postgres
) -> None:
    database = database_of(postgresql_url)
    role = f"reader_{database}"
    postgresql.execute(f"CREATE ROLE {role} LOGIN")
    theirs = postgresql_url.replace("bridge@", f"{role}@")

    def missing(url: str) -> list[str]:
        with closing(read_ledger(url)) as reader:
            return reader.missing_permissions()

    empty = missing(theirs)
    open_ledger(postgresql_url).close()
    postgresql.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}", database=database)
    reading = missing(theirs)
    postgresql.execute(
        f"GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}", database=database
    )

    assert empty == ["CREATE tables"]
    assert {"INSERT commands", "UPDATE buckets", "DELETE receipts"} <= set(reading)
    assert not [one for one in reading if one.startswith("SELECT")]
    assert (missing(theirs), missing(postgresql_url)) == ([], [])


def test_an_url_that_cant_be_read_is_refused_without_the_password() -> None:
    with pytest.raises(LedgerUnusable, match=r"ledger\.url") as caught:
        open_ledger("postgresql+psycopg://bridge:hunter2@127.0.0.1:port/ledger")

    assert "hunter2" not in str(caught.value)


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "bridge.adapters.store.connection_timeout", raising=False)

    with pytest.raises(LedgerUnusable, match="its extra postgresql"):
        open_ledger("postgresql+psycopg://bridge@127.0.0.1/ledger")


def test_a_database_that_takes_no_writes_is_unavailable_and_unchanged(
    ledger: SqlLedger, postgresql: Postgres, postgresql_url: str
) -> None:
    database = database_of(postgresql_url)
    postgresql.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    postgresql.end_sessions(database)
    with pytest.raises(LedgerUnavailable, match="read-only"):
        ledger.apply([claim()])
    postgresql.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    postgresql.end_sessions(database)

    assert isinstance(ledger.apply([claim(owner="two")])[0], Call)


def test_commits_are_on_the_disk_whatever_the_servers_default_is(
    postgresql: Postgres, postgresql_url: str
) -> None:
    database = database_of(postgresql_url)
    postgresql.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
    postgresql.execute(f"ALTER DATABASE {database} SET default_transaction_isolation = 'serializable'")
    ledger = open_ledger(postgresql_url)
    with ledger._database.engine.connect() as connection:
        shown = [
            connection.exec_driver_sql(f"SHOW {name}").scalar_one()
            for name in ("synchronous_commit", "transaction_isolation", "lock_timeout")
        ]
    ledger.close()

    assert shown == ["on", "read committed", "5s"]


def test_a_ledger_that_grew_from_nothing_is_not_read_whole_for_a_command(
    ledger: SqlLedger, postgresql: Postgres, postgresql_url: str
) -> None:
    database = database_of(postgresql_url)
    # Statistics make PostgreSQL plan anew; a ledger that grows fast has none for a minute.
    postgresql.execute("ALTER TABLE submissions SET (autovacuum_enabled = false)", database=database)
    few = [claim(of=command(f"few-{number}")) for number in range(20)]
    for _ in range(20):
        ledger.apply(few)
    postgresql.execute(
        "INSERT INTO submissions "
        "(command_id, position, state, attempts, reserved, submitted, crashes, replay, may_resend) "
        "SELECT n, 0, 'sent', 1, 0, false, 0, 0, false FROM generate_series(1, 50000) n", database=database,
    )  # fmt: skip
    for _ in range(5):
        ledger.apply(few)
    ledger.close()
    sessions = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    wait_until(
        lambda: not postgresql.execute(sessions, database=database), what="counts, told as a session ends"
    )
    [(scanned,)] = postgresql.execute(
        "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'submissions'", database=database
    )

    assert scanned < 50_000


def test_workers_without_limits_do_not_wait_for_each_other(
    ledger: SqlLedger, postgresql: Postgres, postgresql_url: str
) -> None:
    other = open_ledger(postgresql_url)

    class Meanwhile:
        """A change during which another worker claims another command of the same sender."""

        read_set = claim().read_set

        def apply(self, _unit: object) -> object:
            return other.apply([claim(of=command("order-18"))])[0]

    [_, meanwhile] = ledger.apply([claim(), Meanwhile()])
    other.close()

    assert isinstance(meanwhile, Call)
    assert isinstance(ledger.apply([claim(of=command("order-18"), owner="two")])[0], NotBefore)


def test_a_late_answer_waits_for_a_twin_that_is_judged_just_then(
    ledger: SqlLedger, postgresql: Postgres, postgresql_url: str
) -> None:
    other = open_postgresql(parameters_of(postgresql_url), statement_timeout=0.3)
    twins = [command("order-17"), command("order-18")]
    ledger.apply([claim(of=twin) for twin in twins])
    ledger.apply([claim(of=twin, owner="history_lookups", now=NOW + 500) for twin in twins])
    # The owner before was only slow: its message is the first twin's own.
    shown = resolve(twins[0], "m-1").reading
    assert shown is not None
    late = replace(file(of=twins[0]), evidence=shown.messages[0])

    class Meanwhile:
        """A change during which the late answer comes in."""

        read_set = resolve(twins[1], "m-1").read_set

        def apply(self, _unit: object) -> None:
            with pytest.raises(LedgerUnavailable, match="timeout"):
                other.apply([late])

    [_, found] = ledger.apply([Meanwhile(), resolve(twins[1], "m-1")])
    other.apply([late])
    other.close()
    [left] = ledger.apply([resolve(twins[0], "m-1")])

    assert recorded(found).outcome is Outcome.SENT
    assert recorded(left).outcome is None, "one message can't be both twins'"


def test_a_batch_of_more_names_than_can_be_locked_takes_the_whole_ledger(
    ledger: SqlLedger, postgresql: Postgres, postgresql_url: str
) -> None:
    other = open_postgresql(parameters_of(postgresql_url), statement_timeout=0.3)

    class Meanwhile:
        """A change during which another worker wants to claim."""

        read_set = claim().read_set

        def apply(self, _unit: object) -> None:
            with pytest.raises(LedgerUnavailable, match="timeout"):
                other.apply([claim(of=command("elsewhere"))])

    many = [claim(of=command(f"order-{number}")) for number in range(MOST_LOCKS + 1)]
    ledger.apply([*many, Meanwhile()])
    [after] = other.apply([claim(of=command("elsewhere"))])
    other.close()

    assert isinstance(after, Call)


def test_the_time_is_the_server_s(ledger: SqlLedger) -> None:
    before = time.time()
    stored_event = ledger.time()

    assert stored_event is not None
    assert before - 1 <= stored_event <= time.time() + 1, "on one machine they are the same"


def test_what_the_server_can_not_store_is_told_from_a_server_that_is_away(ledger: SqlLedger) -> None:
    seen = Evidence(
        message_id="m\0", sender_address=None, destination_address="+16131234567", text_key=b"", sent_at=NOW
    )

    with pytest.raises(ChangeRefused):
        ledger.apply([ObservedMessage(evidence=seen)])
    assert isinstance(ledger.apply([claim()])[0], Call)
