"""`ledger.url`: accepted and refused forms; no error shows a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.store import check_url, open_ledger
from bridge.domain.ledger_url import PARAMETERS, PostgresDatabase, SqliteFile, read_ledger_url
from bridge.ports import LedgerUnusable
from tests.harness.certificates import make_certificate

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hunter2"


def is_empty(name: str, value: str) -> bool:
    """Return whether libpq received nothing; a list of ports may have commas only."""
    return not (value.strip(",") if name == "port" else value)


def parameters(rest: str) -> dict[str, str]:
    """Return libpq's parameters of a PostgreSQL URL."""
    named = read_ledger_url(f"postgresql://{rest}")
    assert isinstance(named, PostgresDatabase)
    assert SECRET not in repr(named)
    return dict(named.parameters)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_each_scheme_names_postgresql(scheme: str) -> None:
    named = read_ledger_url(f"{scheme}://u:{SECRET}%40%2F@db.example:5433/sms")

    assert isinstance(named, PostgresDatabase)
    assert named.parameters == {
        "user": "u", "password": f"{SECRET}@/", "dbname": "sms", "host": "db.example", "port": "5433",
    }  # fmt: skip


def test_sqlite_path_is_used_unchanged() -> None:
    assert read_ledger_url("sqlite:///ledger#1 %41.db") == SqliteFile("ledger#1 %41.db")
    assert read_ledger_url("sqlite:////var/lib/x.db") == SqliteFile("/var/lib/x.db")


def test_sqlite_url_has_no_parameters() -> None:
    with pytest.raises(ValueError, match="has no parameters") as refused:
        read_ledger_url(f"sqlite:///ledger.db?key={SECRET}")

    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("name", ["correcthorse", "batterystaple", "hunter"])
def test_unknown_parameter_is_named_by_its_number(name: str) -> None:
    with pytest.raises(ValueError, match="the unknown parameter number 2; ") as refused:
        read_ledger_url(f"postgresql://db/sms?password=Tr0ub&{name}=x")

    assert name not in str(refused.value)


@pytest.mark.parametrize(
    ("rest", "hosts", "ports"),
    [
        ("a,b/sms", "a,b", None),
        ("a:1,b:2/sms", "a,b", "1,2"),
        ("a,b:2/sms", "a,b", ",2"),
        ("a,b/sms?port=7", "a,b", "7"),
        ("/sms?host=a:1&host=b:2", "a,b", "1,2"),
        ("/sms?host=a&host=b", "a,b", None),
        ("/sms?host=a,b&port=1,2", "a,b", "1,2"),
        ("/sms?host=/run/postgresql", "/run/postgresql", None),
        ("/sms?host=/run/postgresql&port=5433", "/run/postgresql", "5433"),
        ("%2Frun%2Fpostgresql/sms", "/run/postgresql", None),
        ("%2Frun%2Fpostgresql:5433/sms", "/run/postgresql", "5433"),
        ("/sms?host=%40abstract", "@abstract", None),
        ("[::1]:5433,[fe80::1%25eth0]/sms", "::1,fe80::1%eth0", "5433,"),
        ("/sms?host=::1", "::1", None),
        ("/sms", None, None),
        ("", None, None),
    ],
)
def test_hosts_in_every_notation_become_lists_of_libpq(
    rest: str, hosts: str | None, ports: str | None
) -> None:
    found = parameters(f"u:{SECRET}@{rest}")

    assert (found.get("host"), found.get("port")) == (hosts, ports)


def test_parameters_reach_libpq_decoded() -> None:
    found = parameters(
        "db/sms?sslmode=verify-full&sslrootcert=/etc/ca%20s.pem&connect_timeout=3&application_name=x+y"
        "&options=-csearch_path%3Dsms&target_session_attrs=primary&password=a%26b"
    )

    assert found["sslrootcert"] == "/etc/ca s.pem"
    assert found["application_name"] == "x+y", "a plus is a plus, as in libpq"
    assert found["options"] == "-csearch_path=sms"
    assert found["password"] == "a&b"


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        ("db/sms?prepare_threshold=0", "prepare_threshold: the bridge sets it"),
        ("db/sms?client_encoding=latin1", "client_encoding: the bridge sets it"),
        ("db/sms?sslmod=require", "sslmod; did you mean sslmode"),
        (f"db/sms?{SECRET}=1", "parameter number 1"),
        (f"db/sms?user=u&password=Tr0ub&{SECRET.strip('2')}=x", "parameter number 3; special characters"),
        (
            f"u:{SECRET}@h1/sms?host=h1:5432&host=h2:5432",
            "write all hosts after the @, as in user@h1:5432,h2:5432",
        ),
        (f"db/sms?{SECRET}", "no = in its parameter number 1"),
        (f"db/sms?connect_timeout={SECRET}", "connect_timeout must be a whole number"),
        ("db/sms?connect_timeout=0", "connect_timeout must be"),
        ("db/sms?target_session_attrs=any", "target_session_attrs must be"),
        ("u@db/sms?user=v", "gives user twice"),
        ("db/sms?sslmode=require&sslmode=require", "gives sslmode twice"),
        ("db/sms?host=other", "gives host twice"),
        ("db:1/sms?port=2", "gives port twice"),
        ("a,b,c/sms?port=1,2", "port must have"),
        ("a,,b/sms", "empty host"),
        (f"u:{SECRET}/x@db/sms", "percent-encoded"),
        (f"u:1/{SECRET}@db/sms", "percent-encoded"),
        (f"u:{SECRET}@x@db/sms", "percent-encoded"),
        (f"u:{SECRET}#x@db/sms", "percent-encoded"),
        (f"u:{SECRET}?x@db/sms", "percent-encoded"),
        (f"u:{SECRET}%@db/sms", "percent-encoded"),
        (f"u:{SECRET}%00@db/sms", "percent-encoded"),
        (f"u:{SECRET}%ff@db/sms", "not UTF-8"),
        (f"u:{SECRET} x@db/sms", "space"),
        (f"u:{SECRET}", "port"),
        ("db:0/sms", "port"),
        ("db:65536/sms", "port"),
        ("db:x/sms", "has an invalid host"),
        ("[db]/sms", "has an invalid host"),
        ("[::1/sms", "has an invalid host"),
        ("a,b/sms?hostaddr=127.0.0.1", "hostaddr must"),
    ],
)
def test_unusable_url_is_refused_with_the_key_and_without_a_value(rest: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        parameters(rest)

    assert SECRET not in str(refused.value)


def test_parameters_are_those_that_the_driver_knows() -> None:
    known = {one.keyword.decode() for one in psycopg.pq.Conninfo.get_defaults()}

    assert known >= PARAMETERS
    assert known - PARAMETERS == {"client_encoding", "replication"}


@given(st.text(alphabet="ab:/@?#&=%,[]1;.\\ ", max_size=25))
def test_every_accepted_url_is_parsed_as_by_libpq(rest: str) -> None:
    try:
        found = parameters(rest)
    except ValueError:
        return
    theirs = psycopg.conninfo.conninfo_to_dict(f"postgresql://{rest}")

    assert {name: value for name, value in theirs.items() if not is_empty(name, str(value))} == found


@pytest.mark.parametrize(
    ("query", "named"),
    [
        (f"sslmode={SECRET}", "sslmode"),
        ("sslmode=require&sslnegotiation=direct", None),
        ("sslmode=prefer&sslnegotiation=direct", "sslnegotiation"),
        ("sslmode=require&sslrootcert=system", "ssl"),
        ("sslrootcert=system", None),
        (f"sslmode={SECRET}&channel_binding={SECRET}", "channel_binding, sslmode"),
        (f"load_balance_hosts={SECRET}", "load_balance_hosts"),
        (f"gssencmode={SECRET}", "gssencmode"),
        (f"service={SECRET}", "service"),
        (
            f"sslmode=verify-full&sslrootcert=/nowhere/{SECRET}",
            "the file of sslrootcert can't be used: No such",
        ),
        (f"sslcert=/nowhere/{SECRET}", "the file of sslkey can't be used: No such"),
        ("connect_timeout=3&application_name=x&options=-cgeqo%3Doff&keepalives=1", None),
    ],
)
def test_url_that_libpq_refuses_is_refused_before_connecting(query: str, named: str | None) -> None:
    url = f"postgresql://bridge@db.invalid/sms?{query}"
    if named is None:
        check_url(url)
        return
    with pytest.raises(LedgerUnusable, match=named) as refused:
        check_url(url)

    assert SECRET not in str(refused.value)


def test_client_s_key_is_refused_where_libpq_would_refuse_it(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    url = f"postgresql://db.invalid/sms?sslcert={certificate}&sslkey={key}&sslrootcert={certificate}"
    key.chmod(0o600)
    check_url(url)
    key.chmod(0o644)

    with pytest.raises(LedgerUnusable, match="sslkey can't be used: others can read it"):
        check_url(url)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_world_writable_file_is_refused(suffix: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    check_url(url)
    file = tmp_path / f"ledger.db{suffix}"
    file.touch()
    for mode in (0o600, 0o660, 0o644):
        file.chmod(mode)
        check_url(url)
    file.chmod(0o606)

    with pytest.raises(LedgerUnusable, match="chmod o-w"):
        check_url(url)
    with pytest.raises(LedgerUnusable, match="chmod o-w"):
        open_ledger(url)
