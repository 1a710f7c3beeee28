"""The commands as whoever types them sees them: exit codes, what stands on stdout, and what is said on stderr."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.commands import run
from tests.harness.processes import clean_environment
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.acceptance.conftest import Provider, StartUnsearched
    from tests.conftest import StartBridge
    from tests.harness.broker_client import BrokerClient

pytestmark = pytest.mark.acceptance

NOWHERE = {
    "BRIDGE_BROKER__URL": "amqp://guest:hunter2@127.0.0.1:1/",
    "BRIDGE_CPAAS__BASE_URL": "http://127.0.0.1:1",
    "BRIDGE_CPAAS__CLIENT_ID": "project",
    "BRIDGE_CPAAS__CLIENT_SECRET": "hunter2-secret",
    "BRIDGE_LOG__FORMAT": "json",
}
HELLO = ("send", "--to", "+16131234567", "--message", "canary hello")


# -- what is loaded --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loading", "unneeded"),
    [
        (
            "from bridge.cli import main; main(['--help'], standalone_mode=False)",
            {"kombu", "requests", "httptools", "sqlalchemy", "pydantic", "structlog", "phonenumbers"},
        ),
        (
            "import bridge.app.oneshot",
            {
                "requests",
                "httptools",
                "sqlalchemy",
                "phonenumbers",
                "rich.console",
                "bridge.simulator",
            },
        ),
        (
            "import bridge.app.ingest",
            {"requests", "tenacity", "sqlalchemy", "phonenumbers", "bridge.simulator"},
        ),
        (
            "import bridge.app.workers",
            {"bridge.simulator", "bridge.ops.console"},
        ),
    ],
    ids=["help", "send", "ingest", "worker"],
)
def test_a_command_loads_only_what_it_needs(loading: str, unneeded: set[str]) -> None:
    code = f"import sys; {loading}; sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert unneeded.isdisjoint(done.stderr.split())


# -- nothing is there ------------------------------------------------------------------------------


def test_commands_exit_69_at_once_without_a_broker_and_a_provider() -> None:
    commands = [
        HELLO,
        ("events", "tail"),
        ("topology", "check"),
        ("topology", "declare"),
        ("subscriptions", "list"),
    ]
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda command: run(*command, env=NOWHERE), commands))

    assert [done.code for done in ended] == [69] * len(commands)
    assert time.monotonic() - began < 5 * len(commands)
    for done in ended:
        assert done.stdout == ""
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1
        assert "hunter2" not in done.stderr


@pytest.mark.parametrize("role", ["worker", "ingest"])
def test_a_service_keeps_trying_for_a_broker_and_says_so(role: str, bridge_process: StartBridge) -> None:
    service = bridge_process(role, env={**NOWHERE, "BRIDGE_INGEST__PORT": "0"}, ready=False)
    wait_until(lambda: service.logs.count('"broker.unreachable"') >= 3, 20)

    assert service.admin("/livez") == (200, "ok\n")
    assert service.admin("/readyz")[0] == 503
    assert service.stop(signal.SIGTERM) == 0
    assert "Traceback" not in service.logs


@pytest.mark.parametrize("role", ["worker", "ingest"])
def test_a_service_whose_port_is_taken_names_the_setting_and_ends(role: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        done = run(role, env={**NOWHERE, "BRIDGE_INGEST__PORT": "0", "BRIDGE_ADMIN__PORT": port})

    assert (done.code, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: can't listen on 127.0.0.1:{port}, chosen by admin.host and admin.port: Address already in use\n"
    )


def test_the_simulator_says_so_where_its_port_is_taken() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        done = run("simulator", "--port", port)

    assert done.code == 1
    assert done.stderr == (
        f"Error: can't listen on 127.0.0.1:{port}, chosen by --host and --port: Address already in use\n"
    )


def test_a_worker_whose_ledger_can_not_be_opened_keeps_trying_and_says_why(
    bridge_process: StartBridge, tmp_path: Path
) -> None:
    directory = tmp_path / "not yet there"
    url = f"sqlite:///{directory}/ledger.sqlite3"
    worker = bridge_process("worker", env={**NOWHERE, "BRIDGE_LEDGER__URL": url}, ready=False)
    wait_until(lambda: '"ledger.unavailable"' in worker.logs, 20)
    status, body = worker.admin("/readyz")
    directory.mkdir()
    wait_until(lambda: '"broker.unreachable"' in worker.logs, 20)

    assert (status, json.loads(body)["reasons"]["ledger"]["ok"]) == (503, False)
    assert "No such file or directory" in json.loads(body)["reasons"]["ledger"]["detail"]
    assert worker.stop(signal.SIGTERM) == 0


def test_an_ingest_that_asks_nobody_for_a_secret_says_so_and_does_not_start_with_an_empty_one(
    bridge_process: StartBridge, tmp_path: Path
) -> None:
    empty = tmp_path / "authorization"
    empty.touch()
    env = {**NOWHERE, "BRIDGE_INGEST__PORT": "0"}
    refused = run("ingest", env={**env, "BRIDGE_INGEST__AUTHORIZATION_FILE": str(empty)})
    open_ = bridge_process("ingest", env=env, ready=False)
    wait_until(lambda: '"ingest.unauthenticated"' in open_.logs, 20)
    guarded = bridge_process("ingest", env={**env, "BRIDGE_INGEST__AUTHORIZATION": "x"}, ready=False)
    wait_until(lambda: '"broker.unreachable"' in guarded.logs, 20)

    assert refused.code == 78
    assert "ingest.authorization: the file is empty" in refused.stderr
    assert "ingest.unauthenticated" not in guarded.logs


# -- the broker ------------------------------------------------------------------------------------


@pytest.mark.broker
def test_topology_is_checked_and_declared(vhost_url: str, amqp: BrokerClient) -> None:
    env = {"BRIDGE_BROKER__URL": vhost_url}
    homeless = run(*HELLO, env=env)
    before = run("topology", "check", env=env)
    declared = run("topology", "declare", "--json", env=env)
    after = run("topology", "check", env=env)

    assert (homeless.code, homeless.stdout) == (69, "")
    assert "bridge topology" in homeless.stderr
    assert before.code == 1
    assert {"queue sms.send is missing", "queue sms.dead is missing"} <= set(before.stdout.splitlines())
    assert declared.code == 0
    assert "queue sms.send" in declared.json["declared"]
    assert (after.code, after.stdout) == (0, "")


@pytest.mark.broker
def test_a_queue_with_other_properties_is_named(vhost_url: str, amqp: BrokerClient) -> None:
    amqp.declare_queue("sms.dead")
    env = {"BRIDGE_BROKER__URL": vhost_url}
    declared = run("topology", "declare", env=env)
    checked = run("topology", "check", env=env)

    assert declared.code == 1
    assert declared.stderr.startswith("Error: sms.dead is on the broker with other properties: ")
    assert declared.stderr.count("\n") == 1
    assert checked.code == 1
    assert [line for line in checked.stdout.splitlines() if "sms.dead" in line and "other properties" in line]


@pytest.mark.broker
def test_a_sent_command_ends_as_its_outcome_says(
    bridge_process: StartBridge, env: Mapping[str, str], provider: Provider, amqp: BrokerClient
) -> None:
    bridge_process("worker", env=env)
    left = run(*HELLO, "--id", "left", env=env)
    sent = run(*HELLO, "--id", "two", "--to", "+16131234568", "--wait", "--json", env=env)
    piped = run("send", "--to", "+16131234567", "--message", "-", "--wait", env=env, stdin="canary é\n")
    undeliverable = run("send", "--to", "+18881234567", "--message", "canary", "--wait", env=env)
    invalid = run("send", "--to", "+16131234567", "--message", "other", "--id", "left", "--wait", env=env)
    refused = run("send", "--to", "nobody", "--message", "canary", "--wait", env=env)

    assert (left.code, left.stdout) == (0, "left\n")
    assert sent.code == 0
    assert sent.json["id"] == "two"
    assert {(event["type"], event["data"]["index"]) for event in sent.json["outcomes"]} == {
        ("sms.outbound.sent", 0),
        ("sms.outbound.sent", 1),
    }
    assert (piped.code, "sms.outbound.sent" in piped.stdout) == (0, True)
    assert "canary é" in provider.texts()
    assert (undeliverable.code, "sms.outbound.undeliverable" in undeliverable.stdout) == (1, True)
    assert (invalid.code, "sms.outbound.invalid" in invalid.stdout) == (1, True)
    assert (refused.code, refused.stdout, "--to is not" in refused.stderr) == (2, "", True)
    assert len(provider.texts()) == 5
    assert {done.stderr for done in (left, sent, piped, undeliverable, invalid)} == {""}


@pytest.mark.broker
def test_without_a_worker_a_command_waits_in_the_queue_and_who_asked_hears_of_75(
    vhost_url: str, amqp: BrokerClient
) -> None:
    env = {"BRIDGE_BROKER__URL": vhost_url}
    assert run("topology", "declare", env=env).code == 0
    waited = run(*HELLO, "--id", "later", "--wait", "0.2", env=env)
    (command,) = amqp.take("sms.send")

    assert (waited.code, waited.stdout) == (75, "later\n")
    assert (command.json["id"], command.properties["message_id"]) == ("later", "later")
    assert command.properties["delivery_mode"] == 2


@pytest.mark.broker
def test_events_are_shown_as_they_come_and_taken_from_nobody(
    unsearched_process: StartUnsearched, vhost_url: str, amqp: BrokerClient
) -> None:
    env = {"BRIDGE_BROKER__URL": vhost_url}
    event = {"id": "e1", "type": "sms.inbound.received", "time": "2026-01-01T00:00:00.000Z", "data": {}}
    counting = unsearched_process("events", "tail", "--count", "2", "--json", env=env)
    running = unsearched_process("events", "tail", "--key", "sms.inbound.*", env=env)

    def seen() -> bool:
        for foreign in ({"type": "other.service", "data": {}}, b"no event"):
            amqp.publish(foreign, exchange="sms.events", routing_key="sms.inbound.other")
        amqp.publish(event, exchange="sms.events", routing_key="sms.inbound.received")
        return counting.returncode is not None and "e1" in running.stdout

    wait_until(seen, 20, every=0.1)

    assert counting.wait() == 0
    assert all(json.loads(line) for line in counting.stdout.splitlines())
    assert len(counting.stdout.splitlines()) == 2
    rows = [line.split() for line in running.stdout.splitlines()]
    assert rows[0] == ["TIME", "TYPE", "SUBJECT", "DESTINATION", "ID"]
    assert ["2026-01-01T00:00:00.000Z", "sms.inbound.received", "-", "-", "e1"] in rows
    assert ["-", "other.service", "-", "-", "-"] in rows
    assert amqp.depth("test.events") >= 2
    assert running.stop(signal.SIGTERM) == 0
    assert "skipped a message that is not an event: routing key sms.inbound.other, 8 bytes" in running.logs


# -- the provider ----------------------------------------------------------------------------------


def test_subscriptions_are_listed_made_and_deleted(provider: Provider, tmp_path: Path) -> None:
    env = {
        **NOWHERE,
        "BRIDGE_CPAAS__BASE_URL": provider.url,
        "BRIDGE_SUBSCRIPTIONS__WEBHOOK_URL": "http://127.0.0.1:1/inbound-sms/webhook",
        "BRIDGE_INGEST__AUTHORIZATION": "Bearer hunter2-tangerine",
    }
    empty = run("subscriptions", "list", "--json", env=env)
    (made,) = run("subscriptions", "create", "+16139998878", "--json", env=env).json
    listed = run("subscriptions", "list", "--json", env=env)
    foreign = run("subscriptions", "create", "+16135550000", env=env)
    deleted = run("subscriptions", "delete", made["id"], env=env)
    left = run("subscriptions", "list", env=env)
    refused = run("subscriptions", "list", env={**env, "BRIDGE_CPAAS__CLIENT_SECRET": "wrong"})

    assert (empty.code, empty.json) == (0, [])
    assert made["destination_address"] == "+16139998878"
    assert made["notify"].startswith("wh-")
    assert listed.json == [made]
    assert (foreign.code, foreign.stdout) == (1, "")
    assert foreign.stderr.startswith("Error: ")
    assert (deleted.code, deleted.stdout) == (0, "")
    assert (left.code, left.stdout) == (0, "")
    assert (refused.code, refused.stderr.startswith("Error: ")) == (1, True)
    assert "hunter2" not in foreign.stderr + refused.stderr
