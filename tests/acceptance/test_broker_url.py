"""The broker's URL from the outside: one judgement by check, process, command and client; certificates; addresses."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bridge.app.doctor_broker import check_addresses
from bridge.cli import main
from bridge.cli.invocation import Invocation
from bridge.ops.examination import Level
from bridge.settings import load
from tests.acceptance.commands import run
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from click.testing import Result

    from tests.conftest import StartBridge
    from tests.harness.broker import Broker
    from tests.harness.processes import BridgeProcess

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

SECRET = "hunter2-broker"
#: A broker that is absent: a process that starts says so.
PLACE = f"u:{SECRET}@127.0.0.1:1"
WORK = [
    f"amqp://u:{SECRET};x@127.0.0.1:1/",
    f"amqp://u:{SECRET},x@127.0.0.1:1/%2f?heartbeat=5&connection_timeout=300&channel_max=100&auth_mechanism=PLAIN",
    f"amqps://{PLACE}/sms?verify=verify_none",
    f"amqp://{PLACE}/sms,amqp://{PLACE}/sms",
]
FAIL = [
    f"http://{PLACE}/",
    f"amqp://u:{SECRET}/x@127.0.0.1:1/",
    f"amqp://u:{SECRET}%@127.0.0.1:1/",
    f"amqp://{PLACE}/?connect_timeout=5",
    f"amqp://{PLACE}/?{SECRET}",
    f"amqp://{PLACE}/,amqp://{PLACE}/sms",
    f"amqp://{PLACE}/;amqp://{PLACE}/",
    f"amqp://{PLACE}/,amqp://u:{SECRET}@127.0.0.1:port/",
    f"amqps://{PLACE}/?cacertfile=/nowhere/{SECRET}.pem",
]


def with_url(env: Mapping[str, str], url: str) -> dict[str, str]:
    return {**env, "BRIDGE_BROKER__URL": url, "BRIDGE_BROKER__CONNECT_TIMEOUT": "1"}


def in_this_process(*arguments: str, env: Mapping[str, str]) -> Result:
    """Run a command that only reads the configuration: a process would cost more than it shows."""
    return CliRunner().invoke(main, arguments, obj=Invocation(environ=env))


def test_worker_starts_with_each_url_that_the_check_accepts_and_exits_78_with_others(
    env: dict[str, str], bridge_process: StartBridge
) -> None:
    workers = {url: bridge_process("worker", env=with_url(env, url), ready=False) for url in WORK + FAIL}
    checks = {url: in_this_process("config", "check", env=with_url(env, url)) for url in WORK + FAIL}
    for url in WORK:
        wait_until(partial(says, workers[url], "broker.unreachable"), 60, what=f"a worker with {url}")
    ended = {url: workers[url].wait(60) for url in FAIL}

    assert {url: check.exit_code for url, check in checks.items()} == dict.fromkeys(WORK, 0) | dict.fromkeys(
        FAIL, 78
    )
    assert set(ended.values()) == {78}
    assert all("broker.url: " in workers[url].logs for url in FAIL)
    shown = [check.output for check in checks.values()]
    shown += [text for worker in workers.values() for text in (worker.stdout, worker.logs)]
    assert not [text for text in shown if SECRET in text]


def says(process: BridgeProcess, word: str) -> bool:
    return word in process.logs


@pytest.mark.parametrize(
    "command", [("topology", "check"), ("dead", "list"), ("events", "tail"), ("doctor",)]
)
def test_a_command_refuses_the_same_urls(env: dict[str, str], command: tuple[str, ...]) -> None:
    done = in_this_process(*command, env=with_url(env, FAIL[0]))

    assert (done.exit_code, done.stderr.startswith("broker.url: ")) == (78, True)
    assert SECRET not in done.output


@pytest.mark.parametrize("process", ["worker", "ingest"])
def test_a_process_refuses_a_certificate_for_another_name_and_takes_the_right_one(
    env: dict[str, str], bridge_process: StartBridge, rabbitmq: Broker, process: str
) -> None:
    vhost = env["BRIDGE_BROKER__URL"].rpartition("/")[2]
    private = {"BRIDGE_BROKER__CA_FILE": str(rabbitmq.authority.certificate), "BRIDGE_INGEST__PORT": "0"}
    wrong = bridge_process(
        process, env={**with_url(env, rabbitmq.tls_url(vhost, "127.0.0.1")), **private}, ready=False
    )
    right = bridge_process(process, env={**with_url(env, rabbitmq.tls_url(vhost)), **private})
    wait_until(lambda: "certificate is not accepted" in wrong.logs, 60, what="the refusal")

    assert right.admin("/readyz")[0] == 200
    assert '"broker.connected"' in right.logs
    assert '"broker.connected"' not in wrong.logs
    assert "127.0.0.1" in wrong.logs


def test_commands_refuse_a_certificate_for_another_name_and_doctor_says_why(
    env: dict[str, str], rabbitmq: Broker
) -> None:
    vhost = env["BRIDGE_BROKER__URL"].rpartition("/")[2]
    private = {"BRIDGE_BROKER__CA_FILE": str(rabbitmq.authority.certificate)}
    right = with_url(env, rabbitmq.tls_url(vhost))
    wrong = with_url(env, rabbitmq.tls_url(vhost, "127.0.0.1"))
    declared = run("topology", "declare", env={**right, **private})
    refused = run("topology", "declare", env={**wrong, **private})

    assert declared.code == 0
    assert refused.code == 69
    assert "its certificate is not accepted" in refused.stderr
    assert "server_name_indication" in of_broker(run("doctor", "--json", env={**wrong, **private}).json)


def test_doctor_warns_of_a_certificate_that_is_not_checked() -> None:
    settings = load({"broker": {"url": WORK[2]}}, {}, lambda name: name)
    (lookup_result,) = check_addresses(settings)

    assert lookup_result.level is Level.WARN
    assert "127.0.0.1:1 is not checked" in lookup_result.seen


def test_the_first_address_that_can_be_used_is_used_and_doctor_tries_each(
    env: dict[str, str], bridge_process: StartBridge
) -> None:
    there = env["BRIDGE_BROKER__URL"]
    absent, vhost = f"127.0.0.1:{free_port()}", there.rpartition("/")[2]
    several = with_url(
        env,
        f"amqp://guest:{SECRET}@{absent}/{vhost}, {there.replace('guest:guest', f'guest:{SECRET}')},{there}",
    )
    worker = bridge_process("worker", env=several)
    done = run("doctor", "--for", "worker", "--json", env=several)
    shown = in_this_process("config", "show", env=several)

    assert worker.admin("/readyz")[0] == 200
    found = [(row["level"], row["seen"]) for row in done.json if row["check"] == "broker"]
    assert [level for level, _ in found[:3]] == ["fail", "fail", "ok"]
    assert absent in found[0][1]
    assert "ACCESS_REFUSED" in found[1][1]
    assert run("topology", "check", env=several).code == 0
    assert shown.output.count("***") >= 3
    assert SECRET not in done.stdout + done.stderr + worker.logs + shown.output


def of_broker(rows: list[dict[str, str]]) -> str:
    return json.dumps([row for row in rows if row["check"] == "broker"])
