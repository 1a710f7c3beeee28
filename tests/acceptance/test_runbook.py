"""The console blocks of docs/operations.md run in the order of the page, and print what the page shows."""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.commands import run
from tests.acceptance.test_rights import Users
from tests.harness.waiting import free_port, wait_until
from tests.harness.webhook import Webhook, inbound, listening_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge
    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^ *```console\n(.*?)^ *```$", PAGE, re.DOTALL | re.MULTILINE)
SECRET = "Bearer hunter2-tangerine"


def steps() -> list[tuple[str, str]]:
    """Return each `bridge` command of the page's console blocks with the output that the page shows."""
    found = []
    for block in BLOCKS:
        for part in re.split(r"^ *\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, "\n".join(line.strip() for line in output.splitlines())))
    return [(command, output) for command, output in found if command.startswith("bridge ")]


def pattern(output: str) -> re.Pattern[str]:
    """Return what matches `output`, in which `…` stands for any text."""
    return re.compile(".*".join(re.escape(part) for part in output.split("…")), re.DOTALL)


def make_dead_letters(amqp: BrokerClient, provider: Provider) -> None:
    """Leave a failed and an unknown command on the dead-letter queue."""
    amqp.publish(
        {"id": "late", "destination_address": "+16131234567", "message": "canary late"},
        exchange="",
        routing_key="sms.dead",
        headers={
            "x-bridge-outcome": "failed",
            "x-bridge-event-id": "e1",
            "x-bridge-command-id": "late",
            "x-bridge-dead-at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    )
    wait_until(lambda: amqp.depth("sms.dead") == 1, 30, what="the failed command")
    provider.settings(failing={"history": {"name": "status", "status": 503}})
    provider.faults({"name": "drop"})
    amqp.publish({"id": "lost", "destination_address": "+16131234568", "message": "canary lost"})
    wait_until(lambda: amqp.depth("sms.dead") == 2, 60, what="the unknown command")
    provider.settings(failing={})


def damage(spool: Path) -> str:
    """Overwrite the head of a spool's file, move it aside as an ingest does, and return its new name."""
    damaged = spool / "damaged-2026-01-31T09-30-00Z.sqlite3"
    file = spool / "events.sqlite3"
    content = file.read_bytes()
    damaged.write_bytes(b"\0" * 16 + content[16:])
    file.unlink()
    return str(damaged)


@pytest.fixture
def damaged(env: Mapping[str, str], bridge_process: StartBridge, tmp_path: Path) -> str:
    """Return a damaged spool file with one event, which an ingest without a broker has buffered."""
    spool = tmp_path / "spool"
    settings = {
        **env,
        "BRIDGE_BROKER__URL": "amqp://guest:hunter2@127.0.0.1:1/",
        "BRIDGE_INGEST__PORT": "0",
        "BRIDGE_INGEST__AUTHORIZATION": SECRET,
        "BRIDGE_INGEST__SPOOL": str(spool),
    }
    ingest = bridge_process("ingest", env=settings, ready=False)
    wait_until(lambda: "spool.accepting" in ingest.logs, 30, what="an open spool")

    assert Webhook(port=listening_port(ingest), authorization=SECRET).post(inbound("kept")).status == 204

    ingest.stop()
    return damage(spool)


def test_spool_recover_works_with_the_rights_of_an_ingest(
    damaged: str, env: Mapping[str, str], rabbitmq: Broker, vhost: str
) -> None:
    users = Users(rabbitmq, vhost)
    declared = run("topology", "declare", env={**env, **users.env("bridge-topology")})
    recovered = run("spool", "recover", damaged, env={**env, **users.env("bridge-ingest")})

    assert declared.code == 0, declared.stderr
    assert (recovered.code, recovered.stdout) == (
        0,
        f"1 events published, 0 could not be read: {damaged}.recovered\n",
    )


def test_the_commands_of_the_runbook_print_what_it_shows(
    damaged: str, env: Mapping[str, str], bridge_process: StartBridge, provider: Provider, amqp: BrokerClient
) -> None:
    port = str(free_port())
    settings: dict[str, str] = {**env, "BRIDGE_RETRY__MAX_AGE": "4", "BRIDGE_ADMIN__PORT": port}
    bridge_process("worker", env=settings)
    make_dead_letters(amqp, provider)
    names = {
        "EVENT_ID": json.loads(run("dead", "list", "--outcome", "unknown", "--json", env=settings).stdout)[0][
            "event_id"
        ],
        "/var/lib/sms-bridge/spool/damaged-2026-01-31T09-30-00Z.sqlite3": damaged,
    }
    ran = []
    for command, output in steps():
        for name, value in names.items():
            command = command.replace(name, value)
        done = run(*shlex.split(command)[1:], env=settings)

        assert done.code == 0, (command, done.stdout, done.stderr)
        said = "\n".join(line.rstrip() for line in (done.stdout + done.stderr).strip().splitlines())
        assert pattern(output).search(said), (command, output, said)
        ran.append(command.split()[1])

    assert set(ran) == {"doctor", "dead", "spool"}
