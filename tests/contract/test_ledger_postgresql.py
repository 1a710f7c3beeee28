"""The PostgreSQL ledger: sessions that end, servers that die or freeze, and locks of other processes."""

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
from tests.contract.test_ledger import claim, command, record, recorded, resolve
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


def test_short_url_names_the_same_ledger(ledger: SqlLedger, postgresql_url: str) -> None:
    other = open_ledger(postgresql_url.replace("postgresql+psycopg:", "postgresql:"))
    other.close()

    assert other.identity == ledger.identity


def test_session_that_ended_while_idle_is_replaced(
    ledger: SqlLedger, postgresql: Postgres, postgresql_url: str
) -> None:
    ledger.apply([claim()])
    ended = postgresql.end_sessions(database_of(postgresql_url))

    assert ended == 1
    assert recorded(ledger.apply([record()])[0]).stored_event is not None


def test_commit_survives_a_kill_of_the_server(ledger: SqlLedger, postgresql: Postgres) -> None:
    ledger.apply([claim()])
    postgresql.kill()
    with pytest.raises(LedgerUnavailable):
        ledger.apply([record()])
    postgresql.start()
    outcome = recorded(ledger.apply([record()])[0])
    postgresql.restart()
    [stored_event] = ledger.apply([claim(owner="two")])

    assert isinstance(stored_event, HasOutcome)
    assert stored_event.stored_event == outcome.stored_event


def test_session_that_ends_during_a_transaction_changes_nothing(
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


def test_ledger_is_unavailable_while_its_locks_are_held_too_long(
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


def test_ledger_is_unavailable_while_its_server_is_frozen(ledger: SqlLedger, postgresql: Postgres) -> None:
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


def test_error_about_a_missing_server_does_not_contain_the_password() -> None:
    with pytest.raises(LedgerUnavailable, match="Connection refused") as caught:
        open_ledger(f"postgresql+psycopg://bridge:hunter2@127.0.0.1:{free_port()}/ledger")

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_database_with_another_encoding_is_refused_with_the_next_step(
    postgresql_url: str, postgresql: Postgres, encoding: str
) -> None:
    other = postgresql.url(postgresql.new_database(encoding))

    open_ledger(postgresql_url).close()
    for opens in (open_ledger, open_seen, lambda url: read_ledger(url).summary()):
        with pytest.raises(LedgerUnusable, match=f"encoding {encoding}: create one with"):
            opens(other)


def test_missing_permissions_are_named_and_nothing_is_changed(
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


def test_error_about_an_invalid_url_does_not_contain_the_password() -> None:
    with pytest.raises(LedgerUnusable, match=r"ledger\.url") as caught:
        open_ledger("postgresql+psycopg://bridge:hunter2@127.0.0.1:port/ledger")

    assert "hunter2" not in str(caught.value)


def test_missing_driver_is_named_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "bridge.adapters.store.connection_timeout", raising=False)

    with pytest.raises(LedgerUnusable, match="its extra postgresql"):
        open_ledger("postgresql+psycopg://bridge@127.0.0.1/ledger")


def test_read_only_database_is_unavailable_and_unchanged(
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


def test_commits_are_synchronous_regardless_of_the_servers_default(
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


def test_command_uses_an_index_in_a_ledger_that_grew_without_statistics(
    ledger: SqlLedger, postgresql: Postgres, postgresql_url: str
) -> None:
    database = database_of(postgresql_url)
    # Statistics would make PostgreSQL plan again; a ledger that grows fast has none for a minute.
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
        lambda: not postgresql.execute(sessions, database=database), what="counts, reported as a session ends"
    )
    [(scanned,)] = postgresql.execute(
        "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'submissions'", database=database
    )

    assert scanned < 50_000


def test_workers_without_rate_limits_do_not_wait_for_each_other(
    ledger: SqlLedger, postgresql: Postgres, postgresql_url: str
) -> None:
    other = open_ledger(postgresql_url)

    class Concurrent:
        """A change during which another worker claims another command of the same sender."""

        read_set = claim().read_set

        def apply(self, _unit: object) -> object:
            return other.apply([claim(of=command("order-18"))])[0]

    [_, concurrent] = ledger.apply([claim(), Concurrent()])
    other.close()

    assert isinstance(concurrent, Call)
    assert isinstance(ledger.apply([claim(of=command("order-18"), owner="two")])[0], NotBefore)


def test_late_response_waits_while_an_identical_command_is_resolved(
    ledger: SqlLedger, postgresql: Postgres, postgresql_url: str
) -> None:
    other = open_postgresql(parameters_of(postgresql_url), statement_timeout=0.3)
    identical = [command("order-17"), command("order-18")]
    ledger.apply([claim(of=command_) for command_ in identical])
    ledger.apply([claim(of=command_, owner="history_lookups", now=NOW + 500) for command_ in identical])
    # The previous owner was only slow: its message is the first command's.
    shown = resolve(identical[0], "m-1").reading
    assert shown is not None
    late = replace(record(of=identical[0]), evidence=shown.messages[0])

    class Concurrent:
        """A change during which the late response arrives."""

        read_set = resolve(identical[1], "m-1").read_set

        def apply(self, _unit: object) -> None:
            with pytest.raises(LedgerUnavailable, match="timeout"):
                other.apply([late])

    [_, found] = ledger.apply([Concurrent(), resolve(identical[1], "m-1")])
    other.apply([late])
    other.close()
    [left] = ledger.apply([resolve(identical[0], "m-1")])

    assert recorded(found).outcome is Outcome.SENT
    assert recorded(left).outcome is None, "one message can't belong to both commands"


def test_batch_with_too_many_names_locks_the_whole_ledger(
    ledger: SqlLedger, postgresql: Postgres, postgresql_url: str
) -> None:
    other = open_postgresql(parameters_of(postgresql_url), statement_timeout=0.3)

    class Concurrent:
        """A change during which another worker wants to claim."""

        read_set = claim().read_set

        def apply(self, _unit: object) -> None:
            with pytest.raises(LedgerUnavailable, match="timeout"):
                other.apply([claim(of=command("elsewhere"))])

    many = [claim(of=command(f"order-{number}")) for number in range(MOST_LOCKS + 1)]
    ledger.apply([*many, Concurrent()])
    [after] = other.apply([claim(of=command("elsewhere"))])
    other.close()

    assert isinstance(after, Call)


def test_time_is_that_of_the_server(ledger: SqlLedger) -> None:
    before = time.time()
    stored_event = ledger.time()

    assert stored_event is not None
    assert before - 1 <= stored_event <= time.time() + 1, "on one machine they are the same"


def test_value_that_the_server_cannot_store_is_refused_as_a_change(ledger: SqlLedger) -> None:
    seen = Evidence(
        message_id="m\0", sender_address=None, destination_address="+16131234567", text_key=b"", sent_at=NOW
    )

    with pytest.raises(ChangeRefused):
        ledger.apply([ObservedMessage(evidence=seen)])
    assert isinstance(ledger.apply([claim()])[0], Call)
