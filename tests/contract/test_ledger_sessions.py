"""PostgreSQL sessions of the ledger: failover, standbys, poolers, TLS."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.store import open_ledger, open_receipts, open_seen, read_ledger
from bridge.domain.ledger import Call
from bridge.ports import LedgerUnavailable, LedgerUnusable
from tests.contract.test_ledger import claim, command, record, recorded
from tests.harness.certificates import make_certificate
from tests.harness.chaos_proxy import ChaosProxy
from tests.harness.commands import NOW
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.adapters.store.ledger import SqlLedger
    from bridge.adapters.store.seen import SqlSeen
    from tests.harness.pgbouncer import Pgbouncer
    from tests.harness.postgres import Postgres


def database_of(url: str) -> str:
    return url.rpartition("/")[2]


def at(*servers: Postgres) -> list[tuple[str, int]]:
    return [("127.0.0.1", server.port) for server in servers]


def answers(ledger: SqlLedger) -> bool:
    try:
        return bool(ledger.apply([record()]))
    except LedgerUnavailable:
        return False


def knows(seen: SqlSeen) -> bool:
    try:
        return seen.known(["one"]) is not None
    except LedgerUnavailable:
        return False


# -- failover --------------------------------------------------------------------------------------


def test_session_with_a_standby_is_dropped_at_the_first_write(
    postgresql: Postgres, postgresql_url: str
) -> None:
    database = database_of(postgresql_url)
    ledger = open_ledger(postgresql_url)
    # As a server that accepts no more writes answers, on a session that it keeps.
    with ledger._database.engine.connect() as connection:
        connection.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        connection.commit()
    with pytest.raises(LedgerUnavailable, match="read-only"):
        ledger.apply([claim()])
    again = ledger.apply([claim()])[0]
    ledger.close()

    assert isinstance(again, Call)
    assert postgresql.execute("SELECT count(*) FROM commands", database=database) == [(1,)]


@pytest.mark.parametrize(
    "statement", ["DEALLOCATE ALL", "DISCARD ALL", "ALTER TABLE commands ALTER version TYPE bigint"]
)
def test_lost_prepared_statements_are_prepared_again(postgresql_url: str, statement: str) -> None:
    ledger = open_ledger(postgresql_url)
    for number in range(8):
        ledger.apply([claim(of=command(f"order-{number}"))])
    with ledger._database.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.autocommit = True
        driver.execute(statement)
        driver.autocommit = False
    results: list[object] = []

    def applied() -> bool:
        try:
            results.extend(ledger.apply([claim(of=command("after"))]))
        except LedgerUnavailable:
            return False
        return True

    wait_until(applied, within=5, what="a claim on a new session")
    ledger.close()

    assert isinstance(results[0], Call)


def test_writable_host_of_several_is_used(
    postgresql: Postgres, postgresql_url: str, standby: Postgres
) -> None:
    name = database_of(postgresql_url)
    unused_port = free_port()
    hosts = f"127.0.0.1:{unused_port},127.0.0.1:{standby.port},127.0.0.1:{postgresql.port}"
    spelled = "&".join(f"host={host}" for host in hosts.split(","))
    for url in (
        f"postgresql+psycopg://bridge@{hosts}/{name}",
        f"postgresql://bridge@/{name}?{spelled}&target_session_attrs=read-write",
    ):
        ledger = open_ledger(url)
        ledger.apply([claim(of=command(url[:12]))])
        ledger.close()

    assert postgresql.execute("SELECT count(*) FROM commands", database=name) == [(2,)]


@pytest.mark.parametrize(
    "hosts",
    ["nowhere.invalid,127.0.0.1:{port}", "127.0.0.1:{port},nowhere.invalid", "nowhere.invalid,never.invalid"],
)
def test_host_that_cannot_be_resolved_is_named_with_the_errors_of_the_others(hosts: str) -> None:
    with pytest.raises(LedgerUnavailable) as refused:
        open_ledger(f"postgresql://bridge@{hosts.format(port=free_port())}/sms")

    said = str(refused.value)
    assert "host 'nowhere.invalid' can't be resolved" in said
    assert ("Connection refused" in said) == ("127.0.0.1" in hosts)
    assert ("failed to resolve host 'never.invalid'" in said) == ("never" in hosts)


def test_error_gives_the_reason_for_each_host_when_none_is_writable(
    postgresql_url: str, standby: Postgres
) -> None:
    silent = free_port()
    hosts = f"127.0.0.1:{standby.port},127.0.0.1:{silent}"

    wait_until(lambda: standby.has(database_of(postgresql_url)), what="the standby has the database")
    with pytest.raises(LedgerUnavailable, match=r"read-only.*; .*refused") as caught:
        open_ledger(f"postgresql://bridge:hunter2@{hosts}/{database_of(postgresql_url)}")
    assert "hunter2" not in str(caught.value)


def test_open_stores_work_again_after_the_primary_is_back(
    postgresql: Postgres, postgresql_url: str, standby: Postgres
) -> None:
    primary, other = at(postgresql, standby)
    wait_until(lambda: standby.has(database_of(postgresql_url)), what="the standby has the database")
    with ChaosProxy(primary) as proxy:
        url = postgresql.url(database_of(postgresql_url), proxy.port)
        ledger, seen, receipts = open_ledger(url), open_seen(url), open_receipts(url)
        ledger.apply([claim()])
        seen.note(["one"], NOW)
        proxy.lead_to(other)
        for unanswered in (
            lambda: ledger.apply([record()]),
            lambda: seen.known(["one"]),
            lambda: seen.watermarks(),
            receipts.due_at,
        ):
            with pytest.raises(LedgerUnavailable, match="read-only"):
                unanswered()
        proxy.lead_to(primary)

        assert recorded(ledger.apply([record()])[0]).stored_event is not None
        assert seen.known(["one"]) == {"one"}
        assert seen.watermarks() == {}
        receipts.due_at()
        for opened in (ledger, seen, receipts):
            opened.close()


# -- poolers ---------------------------------------------------------------------------------------


@pytest.fixture
def pooled_url(pgbouncer: Pgbouncer, postgresql_url: str) -> str:
    return pgbouncer.url(database_of(postgresql_url))


def test_ledgers_that_share_a_poolers_sessions_do_not_share_prepared_statements(
    pooled_url: str, postgresql: Postgres
) -> None:
    database = database_of(pooled_url)
    ledgers = [open_ledger(pooled_url) for _ in range(3)]
    seen = [open_seen(pooled_url) for _ in range(2)]
    for number in range(60):
        mine = command(f"order-{number}")
        ledger, other = ledgers[number % 3], ledgers[(number + 1) % 3]
        assert isinstance(ledger.apply([claim(of=mine)])[0], Call)
        recorded(other.apply([record(of=mine)])[0])
        seen[number % 2].note([f"event-{number}"], NOW)
        assert seen[(number + 1) % 2].known([f"event-{number}"]) == {f"event-{number}"}
    for one in ledgers:
        one.close()
    for other_one in seen:
        other_one.close()

    assert postgresql.execute("SELECT count(*) FROM commands", database=database) == [(60,)]


def test_settings_behind_a_pooler_apply_to_the_ledgers_transactions_only(
    pooled_url: str, pgbouncer: Pgbouncer, postgresql: Postgres
) -> None:
    database = database_of(pooled_url)
    postgresql.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
    names = ("synchronous_commit", "lock_timeout", "idle_in_transaction_session_timeout", "plan_cache_mode")
    shown = ", ".join(f"current_setting('{name}')" for name in names)
    others = f"SELECT {shown}, (SELECT count(*) FROM pg_prepared_statements)"  # noqa: S608 - names from above
    before = pgbouncer.execute(others, database)
    ledger, seen = open_ledger(pooled_url), open_seen(pooled_url)
    for number in range(8):
        ledger.apply([claim(of=command(f"order-{number}"))])
        seen.known(["one"])
    with ledger._database.engine.begin() as connection:
        ours = list(connection.exec_driver_sql(f"SELECT {shown}").one())
    after = [pgbouncer.execute(others, database) for _ in range(4)]
    ledger.close()
    seen.close()

    assert ours == ["on", "5s", "5s", "force_custom_plan"]
    assert before == [("off", "0", "0", "auto", 0)]
    assert after == [before] * 4


def test_ledger_works_again_when_the_pooler_leads_to_the_primary(
    postgresql: Postgres, postgresql_url: str, pgbouncer: Pgbouncer, standby: Postgres
) -> None:
    database = database_of(postgresql_url)
    primary, other = at(postgresql, standby)
    pgbouncer.stop()
    with ChaosProxy(primary) as proxy:
        pgbouncer.start(target=proxy.port)
        ledger, seen = open_ledger(pgbouncer.url(database)), open_seen(pgbouncer.url(database))
        ledger.apply([claim()])
        seen.known(["one"])
        proxy.lead_to(other)
        with pytest.raises(LedgerUnavailable):
            ledger.apply([record()])
        with pytest.raises(LedgerUnavailable):
            seen.known(["one"])
        with pytest.raises(LedgerUnavailable, match="read-only"):
            ledger.apply([record()])
        proxy.lead_to(primary)

        wait_until(lambda: answers(ledger), within=10, what="the primary")
        wait_until(lambda: knows(seen), within=10, what="the primary")
        ledger.close()
        seen.close()


def test_session_pooler_serves_several_ledgers_in_turn(
    pgbouncer: Pgbouncer, postgresql: Postgres, postgresql_url: str
) -> None:
    database = database_of(postgresql_url)
    pgbouncer.stop()
    pgbouncer.start(mode="session")
    # More ledgers than the pooler has sessions, so that sessions are reused.
    for number in range(4):
        ledger, seen = open_ledger(pgbouncer.url(database)), open_seen(pgbouncer.url(database))
        mine = command(f"order-{number}")
        assert isinstance(ledger.apply([claim(of=mine)])[0], Call)
        recorded(ledger.apply([record(of=mine)])[0])
        seen.note([f"event-{number}"], NOW)
        # psycopg prepares repeated statements.
        assert [seen.known(["event-0"]) for _ in range(8)] == [{"event-0"}] * 8
        ledger.close()
        seen.close()

    assert postgresql.execute("SELECT count(*) FROM commands", database=database) == [(4,)]


def test_statement_pooler_is_refused(pgbouncer: Pgbouncer, postgresql_url: str) -> None:
    pgbouncer.stop()
    pgbouncer.start(mode="statement")

    with pytest.raises(LedgerUnusable, match="pool_mode to transaction or session"):
        open_ledger(pgbouncer.url(database_of(postgresql_url)))


def test_parameter_that_the_pooler_refuses_is_named(pooled_url: str) -> None:
    with pytest.raises(LedgerUnusable, match="options"):
        open_ledger(f"{pooled_url}?options=-cgeqo%3Doff")


def test_pooler_is_detected(pooled_url: str, postgresql_url: str) -> None:
    open_ledger(postgresql_url).close()
    found = []
    for url in (postgresql_url, pooled_url):
        with closing(read_ledger(url)) as reader:
            found.append(reader.server())

    assert [server and server.is_pooled for server in found] == [False, True]
    assert [server and server.is_verified for server in found] == [True, True], "it stays on this machine"


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture
def certificates(postgresql: Postgres, tmp_path: Path) -> Iterator[Path]:
    """Enable TLS on the server, with a self-signed certificate for 127.0.0.1; return the certificate."""
    certificate, key = make_certificate(tmp_path)
    for name, source in (("server.crt", certificate), ("server.key", key)):
        placed = postgresql.data / name
        placed.write_bytes(source.read_bytes())
        placed.chmod(0o600)
        owner = postgresql.data.stat()
        os.chown(placed, owner.st_uid, owner.st_gid)
    postgresql.execute("ALTER SYSTEM SET ssl = on")
    postgresql.execute("SELECT pg_reload_conf()")
    wait_until(lambda: postgresql.execute("SHOW ssl") == [("on",)], what="TLS")
    yield certificate
    postgresql.execute("ALTER SYSTEM RESET ssl")
    postgresql.execute("SELECT pg_reload_conf()")


def test_server_is_verified_by_its_ca_and_name(
    postgresql_url: str, certificates: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other, _ = make_certificate(tmp_path / "other")
    verified = f"{postgresql_url}?sslmode=verify-full&sslrootcert="

    open_ledger(f"{verified}{certificates}").close()
    with closing(read_ledger(f"{verified}{certificates}")) as reader:
        server = reader.server()
    for url in (
        f"{verified}{other}",
        f"{verified}{certificates}".replace("127.0.0.1", "localhost"),
    ):
        with pytest.raises(LedgerUnavailable, match="certificate"):
            open_ledger(url)

    assert server is not None
    assert server.is_encrypted
