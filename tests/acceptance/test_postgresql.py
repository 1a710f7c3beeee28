"""A ledger in PostgreSQL as an operator meets it: failover, pgbouncer, and URLs that can't be used."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.store import open_ledger
from tests.acceptance.commands import run
from tests.acceptance.test_ledger import send
from tests.harness.chaos_proxy import ChaosProxy
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge
    from tests.harness.broker_client import BrokerClient
    from tests.harness.pgbouncer import Pgbouncer
    from tests.harness.postgres import Postgres

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

#: Commands that go through pgbouncer: enough that every worker prepares what it repeats and meets every session.
COMMANDS = 160
#: What the documented command needs of the `sqlite3` tool.
TOOL = f"""#!{sys.executable}
import sqlite3, sys
name = sys.argv[2].split()[1]
sqlite3.connect(sys.argv[1]).backup(sqlite3.connect(name))
"""


def sent_once(provider: Provider, amqp: BrokerClient, number: int, *, within: float) -> None:
    """Check that the commands c0 to c`number` were sent once each, and each has its event."""
    published = {event["subject"]: event["type"] for event in amqp.events(number, within=within)}

    assert published == {f"c{one}": "sms.outbound.sent" for one in range(number)}
    assert sorted(provider.texts()) == sorted(f"canary c{one}" for one in range(number))


def test_sending_goes_on_by_itself_once_a_failover_is_over(
    bridge_process: StartBridge,
    env: dict[str, str],
    postgresql: Postgres,
    postgresql_url: str,
    standby: Postgres,
    provider: Provider,
    amqp: BrokerClient,
) -> None:
    database = postgresql_url.rpartition("/")[2]
    wait_until(lambda: standby.has(database), what="the standby has the database")
    with ChaosProxy(("127.0.0.1", postgresql.port)) as proxy:
        worker = bridge_process(
            "worker", env={**env, "BRIDGE_LEDGER__URL": postgresql.url(database, proxy.port)}
        )
        for number in range(10):
            send(amqp, f"c{number}")
        wait_until(lambda: len(provider.texts()) == 10, 30)
        proxy.lead_to(("127.0.0.1", standby.port))
        for number in range(10, 20):
            send(amqp, f"c{number}")
        wait_until(lambda: worker.logs.count("read-only") > 3, 30, what="a standby that is not taken")
        published_since = len(provider.texts())
        proxy.lead_to(("127.0.0.1", postgresql.port))
        # Tries are two seconds apart at most; the rest is for a slow machine.
        worker.wait_ready(10)
        sent_once(provider, amqp, 20, within=30)

    assert published_since == 10
    assert worker.returncode is None


def test_workers_share_a_pgbouncer_that_pools_transactions(
    bridge_process: StartBridge,
    env: dict[str, str],
    pgbouncer: Pgbouncer,
    postgresql_url: str,
    provider: Provider,
    amqp: BrokerClient,
) -> None:
    pooled = {**env, "BRIDGE_LEDGER__URL": pgbouncer.url(postgresql_url.rpartition("/")[2])}
    workers = [bridge_process("worker", env=pooled) for _ in range(2)]
    for number in range(COMMANDS):
        send(amqp, f"c{number}")
    sent_once(provider, amqp, COMMANDS, within=60)
    seen = run("doctor", env=pooled)

    assert not [
        line for worker in workers for line in worker.logs.splitlines() if "ledger.unavailable" in line
    ]
    assert "connected through a connection pooler" in seen.stdout
    assert run("ledger", "show", env=pooled).code == 0


@pytest.mark.parametrize(
    ("query", "named", "commands"),
    [
        ("prepare_threshold=0", "prepare_threshold", ("worker",)),
        ("sslmode=hunter2", "sslmode", ("config check", "ingest", "ledger show")),
        ("sslmode=verify-full&sslrootcert=/nowhere/hunter2", "sslrootcert", ("worker",)),
    ],
)
def test_a_url_that_cant_be_used_is_refused_by_everything_alike(
    query: str, named: str, commands: tuple[str, ...], env: dict[str, str]
) -> None:
    wrong = {**env, "BRIDGE_LEDGER__URL": f"postgresql://bridge:hunter2@127.0.0.1/sms?{query}"}
    for command in commands:
        done = run(*command.split(), env={**wrong, "BRIDGE_ADMIN__PORT": "0", "BRIDGE_INGEST__PORT": "0"})

        assert (command, done.code) == (command, 78), done.stderr
        assert named in done.stdout + done.stderr
        assert "hunter2" not in done.stdout + done.stderr


def test_a_ledger_and_a_spool_that_everybody_can_write_to_are_refused(
    env: dict[str, str], tmp_path: Path
) -> None:
    ledger, spool = tmp_path / "ledger.sqlite3", tmp_path / "spool"
    spool.mkdir()
    ledger.touch()
    env = {**env, "BRIDGE_INGEST__SPOOL": str(spool), "BRIDGE_ADMIN__PORT": "0", "BRIDGE_INGEST__PORT": "0"}
    spool.chmod(0o777)
    ingest = run("ingest", env=env)
    spool.chmod(0o700)
    ledger.chmod(0o666)
    worker = run("worker", env=env)

    assert (ingest.code, worker.code) == (78, 78)
    assert "ingest.spool: every user of this machine can write to" in ingest.stderr
    assert "every user of this machine can write to the ledger: chmod o-w" in worker.stderr


def test_a_backup_as_documented_is_its_owner_s_alone(tmp_path: Path) -> None:
    open_ledger(f"sqlite:///{tmp_path}/sms-bridge.sqlite3").close()
    document = Path(__file__).parents[2].joinpath("docs", "operations.md").read_text(encoding="utf-8")
    [documented] = re.findall(r"^ *(umask .*\.backup .*)$", document, re.MULTILINE)
    # As the tool itself copies, which not every machine has.
    tool = tmp_path / "sqlite3"
    tool.write_text(TOOL, encoding="utf-8")
    tool.chmod(0o700)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", f"umask 022; {documented}"], cwd=tmp_path, env=environ, check=True)

    assert stat.filemode((tmp_path / "copy.sqlite3").stat().st_mode) == "-rw-------"
