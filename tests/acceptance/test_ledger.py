"""The ledger as an operator meets it: one per command queue, on either database, looked at and adopted."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.commands import run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge
    from tests.harness.broker_client import BrokerClient

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]


def shown(env: Mapping[str, str], *arguments: str) -> Any:
    done = run("ledger", *arguments, "--json", env=env)
    assert done.code == 0, done.stderr
    return json.loads(done.stdout)


def send(amqp: BrokerClient, command_id: str) -> None:
    body = {"id": command_id, "destination_address": "+16131234567", "message": f"canary {command_id}"}
    amqp.publish(json.dumps(body).encode())


def age(env: Mapping[str, str], *, days: float) -> None:
    """Make what the ledger remembers older, as time would."""
    file = env["BRIDGE_LEDGER__URL"].removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, timeout=10)) as connection, connection:
        connection.execute("UPDATE commands SET updated_at = updated_at - ?", (days * 86400,))


@pytest.fixture
def postgresql_env(env: Mapping[str, str], postgresql_url: str) -> dict[str, str]:
    return {**env, "BRIDGE_LEDGER__URL": postgresql_url}


def test_two_workers_share_a_ledger_in_postgresql(
    bridge_process: StartBridge, postgresql_env: Mapping[str, str], provider: Provider, amqp: BrokerClient
) -> None:
    for _ in range(2):
        bridge_process("worker", env=postgresql_env)
    ids = [f"c{number}" for number in range(30)]
    for id_ in [*ids, *ids]:
        send(amqp, id_)
    published = {event["subject"]: event["type"] for event in amqp.events(60, within=60)}
    ledger = shown(postgresql_env, "show")

    assert published == dict.fromkeys(ids, "sms.outbound.sent")
    assert sorted(provider.texts()) == sorted(f"canary {id_}" for id_ in ids)
    assert ledger["submissions"] == {"sent": 30}
    assert ledger["oldest_open_at"] is None


def test_a_worker_with_another_ledger_exits_78_until_it_is_adopted(
    bridge_process: StartBridge,
    env: Mapping[str, str],
    provider: Provider,
    amqp: BrokerClient,
    tmp_path: Path,
) -> None:
    first = bridge_process("worker", env=env)
    send(amqp, "c1")
    amqp.events(1, within=20)
    assert run("ledger", "adopt", env=env).code == 1
    first.stop(signal.SIGTERM)
    other = {**env, "BRIDGE_LEDGER__URL": f"sqlite:///{tmp_path}/other.sqlite3"}
    astray = run("ledger", "adopt", env=other)
    is_made = (tmp_path / "other.sqlite3").exists()
    refused = bridge_process("worker", env=other, ready=False)
    code = refused.wait(within=20)
    mine, theirs = shown(other, "show")["identity"], shown(env, "show")["identity"]

    assert (astray.code, is_made) == (69, False)
    assert "there is no ledger yet" in astray.stderr
    assert code == 78
    assert mine in refused.logs
    assert theirs in refused.logs
    assert "bridge ledger adopt" in refused.logs

    adopted = shown(other, "adopt")["identity"]
    assert adopted not in {mine, theirs}
    bridge_process("worker", env=other)
    send(amqp, "c2")
    amqp.events(1, within=20)

    assert shown(other, "show")["identity"] == adopted
    assert shown(other, "show")["restored_at"] is not None
    assert provider.texts() == ["canary c1", "canary c2"]
    assert bridge_process("worker", env=env, ready=False).wait(within=20) == 78


def test_a_ledger_of_a_newer_bridge_ends_the_worker_with_78(
    bridge_process: StartBridge, postgresql_env: Mapping[str, str], postgresql_url: str, postgresql: Any
) -> None:
    assert run("ledger", "migrate", env=postgresql_env).code == 0
    postgresql.execute(
        "UPDATE alembic_version SET version_num = '9999'", database=postgresql_url.rpartition("/")[2]
    )
    worker = bridge_process("worker", env=postgresql_env, ready=False)

    assert worker.wait(within=20) == 78
    assert "9999" in worker.logs
    assert run("ledger", "show", env=postgresql_env).code == 78


def test_what_is_shown_of_a_command_names_neither_number_nor_text(
    bridge_process: StartBridge, env: Mapping[str, str], amqp: BrokerClient
) -> None:
    bridge_process("worker", env=env)
    send(amqp, "c1")
    [event] = amqp.events(1, within=20)
    found = shown(env, "show", "c1")
    [submission] = found["submissions"]

    assert (submission["index"], submission["state"], submission["attempts"]) == (0, "sent", 1)
    assert submission["event_id"] == event["id"]
    assert submission["message_id"] == event["data"]["message_id"]
    for text in (json.dumps(found), run("ledger", "show", "c1", env=env).stdout):
        assert "canary" not in text
        assert "6131234567" not in text
    assert run("ledger", "show", "nobody", env=env).code == 1


def test_an_id_that_was_pruned_is_free_and_one_that_is_open_stays(
    bridge_process: StartBridge, env: Mapping[str, str], provider: Provider, amqp: BrokerClient
) -> None:
    bridge_process("worker", env=env)
    send(amqp, "c1")
    amqp.events(1, within=20)
    fresh = shown(env, "prune", "--before", "1")["commands"]
    too_fresh = run("ledger", "prune", "--before", "0.9", env=env).code
    age(env, days=2)
    assert shown(env, "prune", "--before", "1.5", "--dry-run") == {"commands": 1, "dry_run": True}
    assert shown(env, "prune")["commands"] == 0
    assert shown(env, "prune", "--before", "1.5")["commands"] == 1
    send(amqp, "c1")
    amqp.events(1, within=20)

    assert (fresh, too_fresh) == (0, 2)
    assert provider.texts() == ["canary c1", "canary c1"]
