"""`bridge up`: without any configuration a bridge to try out, with all of it the real thing."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from contextlib import closing, suppress
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings

from tests.harness.processes import BridgeProcess, clean_environment
from tests.harness.text_strategies import ANY_TEXT
from tests.harness.waiting import wait_until
from tests.harness.webhook import Webhook, inbound, listening_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from tests.acceptance.conftest import Provider, StartUnsearched
    from tests.conftest import StartBridge
    from tests.harness.broker_client import BrokerClient

    StartTrial = Callable[..., BridgeProcess]

pytestmark = pytest.mark.acceptance


@pytest.fixture
def trial_process(unsearched_process: StartUnsearched) -> StartTrial:
    """Start `bridge up` to try it out, which shows texts and numbers in full."""

    def start(*arguments: str, **env: str) -> BridgeProcess:
        return unsearched_process("up", *arguments, env=env)

    return start


def shows(process: BridgeProcess, *texts: str, within: float = 10) -> None:
    """Wait until all of `texts` are on the process's stdout."""
    wait_until(
        lambda: process.returncode is not None or all(text in process.stdout for text in texts),
        within,
        what=f"{texts} on stdout",
    )
    assert process.returncode is None, process.logs


def iter_until(lines: Iterable[str], text: str) -> Iterator[str]:
    """Yield lines up to the one that holds `text`."""
    for line in lines:
        yield line
        if text in line:
            return


def shown_url(process: BridgeProcess, name: str) -> str:
    """Return the URL that stands behind `name` on the process's stdout."""
    found = re.search(rf"{name} +(http://\S+)", process.stdout)
    assert found is not None, process.stdout
    return found[1]


def test_with_nothing_configured_it_shows_a_sent_and_a_received_sms_and_goes_on_serving(
    trial_process: StartTrial,
) -> None:
    trial = trial_process()
    # Not a terminal: every event must be flushed as it comes.
    shows(
        trial,
        "sms.outbound.sent",
        "sms.inbound.received",
        "Nothing survives it",
        "no SMS leaves this machine",
    )
    body = {"from": "+16135550000", "to": "+16139998877", "message": "are you [bold] there?"}
    provider = shown_url(trial, "provider")
    answer = Webhook(port=urlsplit(provider).port or 0, path="/_simulator/inbound").post(body)
    shows(trial, "'are you [bold] there?'")

    assert answer.status == 201
    assert trial.admin("/readyz")[0] == 200
    assert shown_url(trial, "health") == f"http://127.0.0.1:{trial.admin_port}/readyz"
    assert trial.stop(signal.SIGINT) == 0
    assert trial.stdout.endswith("Stopped. Nothing was kept.\n")
    assert trial.logs == ""
    assert [path.name for path in trial.directory.iterdir() if path.stat().st_size] == ["stdout"]


def test_trying_out_takes_commands_over_http_where_that_is_asked_for(trial_process: StartTrial) -> None:
    secret = "Bearer tangerine-4711"
    trial = trial_process(BRIDGE_SUBMIT__PORT="0", BRIDGE_SUBMIT__AUTHORIZATION=secret)
    shows(trial, "sms.outbound.sent", "sms.inbound.received")
    url = urlsplit(shown_url(trial, "submit"))
    endpoint = Webhook(port=url.port or 0, path=url.path, authorization=secret)
    answer = endpoint.post(
        {"destination_address": "+16135550123", "message": "by hand"}, idempotency_key="mine"
    )
    shows(trial, "'by hand'")

    def state() -> str:
        reply = endpoint.post(b"", method="GET", path=f"{url.path}/mine")
        return str(json.loads(reply.body)["submissions"][0]["state"]) if reply.status == 200 else ""

    wait_until(lambda: state() == "sent", what="the ledger to say so")

    assert answer.status == 202
    assert trial.stop(signal.SIGTERM) == 0
    assert trial.logs == ""


def test_trying_out_shows_whatever_is_posted_also_what_looks_like_markup(trial_process: StartTrial) -> None:
    trial = trial_process()
    shows(trial, "sms.outbound.sent", "sms.inbound.received")
    webhook = Webhook(port=urlsplit(shown_url(trial, "webhook")).port or 0)
    answer = webhook.post(inbound("m1", "[/] [nonsense", senderAddress="[/] [bold"))
    shows(trial, "[/] [bold → +16137001234", "'[/] [nonsense'")

    assert answer.status == 204
    assert trial.stop(signal.SIGTERM) == 0


def test_trying_out_ends_with_whoever_read_it_and_no_proxy_comes_between(tmp_path: Path) -> None:
    environment = clean_environment({"BRIDGE_ADMIN__PORT": "0"}) | {"http_proxy": "http://127.0.0.1:1"}
    with subprocess.Popen(
        [*BridgeProcess.program, "up"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as trial:
        try:
            assert trial.stdout is not None
            shown = list(iter_until(trial.stdout, "sms.inbound.received"))
            webhook = Webhook(port=urlsplit(re.findall(r"webhook +(\S+)", "".join(shown))[0]).port or 0)
            trial.stdout.close()
            # It may have had another event to show, and be on its way out already.
            with suppress(OSError):
                webhook.post(inbound("m1"))
            code = trial.wait(10)
        finally:
            trial.kill()
        assert trial.stderr is not None
        assert (code, trial.stderr.read()) == (0, "")


def test_trying_out_works_on_every_interface_too(trial_process: StartTrial) -> None:
    everywhere = "0.0.0.0"  # noqa: S104 - that is the point, and an authorization is asked for
    trial = trial_process(
        "--host", everywhere, "--port", "0", BRIDGE_INGEST__AUTHORIZATION="Bearer hunter2-x"
    )
    shows(trial, "sms.outbound.sent", "sms.inbound.received")

    assert shown_url(trial, "webhook").startswith("http://127.0.0.1:")
    assert "hunter2" not in trial.stdout + trial.logs


def test_trying_out_makes_way_for_what_already_listens_on_its_usual_ports(
    trial_process: StartTrial,
) -> None:
    taken = []
    for port in (8080, 8090):
        try:
            taken.append(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue  # by somebody else: as good
    trial = trial_process()
    shows(trial, "sms.outbound.sent", "sms.inbound.received")
    for holder in taken:
        holder.close()

    assert ":8080/" not in shown_url(trial, "webhook")
    assert ":8090/" not in shown_url(trial, "provider")


def test_a_port_that_was_asked_for_and_is_taken_is_named_with_its_setting(
    trial_process: StartTrial,
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        trial = trial_process("--port", str(port))

        assert trial.wait() == 1
    assert trial.logs == (
        f"Error: can't listen on 127.0.0.1:{port}, chosen by ingest.host and ingest.port: Address already in use\n"
    )


@pytest.mark.parametrize(
    ("env", "missing"),
    [
        ({"BRIDGE_BROKER__URL": "amqp://guest:guest@127.0.0.1:1/"}, "cpaas.base_url"),
        (
            {
                "BRIDGE_CPAAS__BASE_URL": "http://127.0.0.1:1",
                "BRIDGE_CPAAS__CLIENT_ID": "project",
                "BRIDGE_CPAAS__CLIENT_SECRET": "hunter2-secret",
            },
            "broker.url",
        ),
    ],
)
def test_half_a_configuration_is_neither_a_trial_nor_the_real_thing(
    env: Mapping[str, str], missing: str, bridge_process: StartBridge
) -> None:
    up = bridge_process("up", env=env, ready=False)

    assert up.wait() == 78
    assert up.logs.startswith(f"{missing}: is missing")
    assert up.logs.count("\n") == 1


def test_it_is_one_process_and_says_so(bridge_process: StartBridge) -> None:
    up = bridge_process("up", env={"BRIDGE_WORKER__PROCESSES": "2"}, ready=False)

    assert up.wait() == 78
    assert up.logs.startswith("worker.processes: must be 1 for `bridge up`")
    assert up.logs.count("\n") == 1


@pytest.mark.broker
def test_with_broker_and_account_it_sends_and_receives_in_one_process(
    bridge_process: StartBridge, env: Mapping[str, str], provider: Provider, amqp: BrokerClient
) -> None:
    up = bridge_process("up", env={**env, "BRIDGE_INGEST__PORT": "0"})
    command = b'{"id": "one", "destination_address": "+16131234567", "message": "canary hello"}'
    # What kombu's JSON serializer claims: py-amqp would decode the body, and the ledger knows bytes alone.
    amqp.publish(command, content_encoding="utf-8")
    (outcome,) = amqp.events(1)
    answer = Webhook(port=listening_port(up)).post(inbound("m1"))
    (received,) = amqp.events(1)

    assert (outcome["type"], outcome["subject"]) == ("sms.outbound.sent", "one")
    assert [sent["message_id"] for sent in provider.journal()] == [outcome["data"]["message_id"]]
    assert (answer.status, received["type"], received["data"]["message_id"]) == (
        204,
        "sms.inbound.received",
        "m1",
    )
    assert up.stop(signal.SIGTERM) == 0
    assert up.stdout == ""


def test_half_a_surrogate_pair_and_a_terminals_escapes_are_shown_and_end_nothing(
    trial_process: StartTrial,
) -> None:
    trial = trial_process()
    shows(trial, "sms.outbound.sent", "sms.inbound.received")
    webhook = Webhook(port=urlsplit(shown_url(trial, "webhook")).port or 0)
    answers = [
        webhook.post(inbound("m1\ud83d", "cut \ud83d", senderAddress="+1\ud83d\x1b[2J\x9b2J\u202e")),
        webhook.post({"odd\ud83d": {"id": "\ud83d", "\ud83d": ["\ud83d"]}}),
        webhook.post(inbound("m2", "next")),
    ]
    shows(trial, "'cut \ufffd'", "+1\ufffd\\u001b[2J\\u009b2J\\u202e →", "'next'")

    assert [answer.status for answer in answers] == [204] * 3
    assert trial.admin("/readyz")[0] == 200
    assert "sms_bridge_notifications_repaired_total 2.0" in trial.admin("/metrics")[1]
    assert trial.stop(signal.SIGTERM) == 0
    assert trial.logs == ""


def test_any_text_is_shown_where_stdout_is_ascii(trial_process: StartTrial) -> None:
    trial = trial_process(PYTHONIOENCODING="ascii")
    shows(trial, "sms.outbound.sent", "sms.inbound.received")
    webhook = Webhook(port=urlsplit(shown_url(trial, "webhook")).port or 0)
    posted = count()

    @settings(max_examples=50)
    @given(ANY_TEXT, ANY_TEXT)
    def post_any(text: str, sender: str) -> None:
        answer = webhook.post(inbound(f"m{next(posted)}", text, senderAddress=f"+1{sender}"))
        assert answer.status == 204

    post_any()
    webhook.post(inbound("last", "5 € last"))
    shows(trial, "'5 \\u20ac last'")

    assert trial.stdout.count("sms.inbound.received") == next(posted) + 2
    assert trial.stdout.replace("\n", "").isprintable()
    assert trial.stdout.isascii()
    assert trial.stop(signal.SIGTERM) == 0
    assert trial.logs == ""
