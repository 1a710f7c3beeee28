"""Commands over HTTP, as a service without AMQP hands them over: 202 is on the queue, whatever happens then."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from bridge.adapters.store import open_ledger
from bridge.domain.events import rfc3339
from tests.acceptance.bench import DESTINATION, Bench, body_of, text_of
from tests.harness.api_conformance import CLEAN, SUBMIT, UNSAID, report
from tests.harness.missing_program import missing_program
from tests.harness.processes import clean_environment
from tests.harness.waiting import wait_until
from tests.harness.webhook import Webhook, inbound, listening_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge
    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient
    from tests.harness.processes import BridgeProcess

    Ingest = tuple[BridgeProcess, Webhook]
    StartCommandApi = Callable[..., Ingest]

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "submit.sh"
PATH = "/v1/messages"
SECRET = "Bearer hunter2-tangerine"
OLD_SECRET = "Bearer hunter2-plum"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def bench(amqp: BrokerClient, provider: Provider) -> Bench:
    """Return the view of who reads the events."""
    return Bench(amqp, provider)


@pytest.fixture
def start_command_api(bridge_process: StartBridge, env: Mapping[str, str]) -> StartCommandApi:
    """Start an ingest that takes commands, and return it with that door."""

    def start(**changes: str) -> Ingest:
        settings = {
            "BRIDGE_INGEST__PORT": "0",
            "BRIDGE_SUBMIT__PORT": "0",
            "BRIDGE_SUBMIT__AUTHORIZATION": SECRET,
        }
        # Whose tables are there: an ingest that looks before they are says so, and looks again later.
        open_ledger(env["BRIDGE_LEDGER__URL"]).close()
        process = bridge_process("ingest", env={**env, **settings, **changes})
        wait_until(lambda: is_ready(process), 10, what="a broker that takes commands")
        return process, endpoint_of(process)

    return start


def endpoint_of(process: BridgeProcess) -> Webhook:
    """Return the door for commands of a process."""
    return Webhook(port=listening_port(process, "submit.listening"), path=PATH, authorization=SECRET)


def is_ready(process: BridgeProcess) -> bool:
    """Whether both connections to the broker are there, and have declared what they have to."""
    reasons: dict[str, dict[str, Any]] = json.loads(process.admin("/readyz")[1])["reasons"]
    return all(reasons[name]["ok"] for name in ("submitting", "publishing"))


def submitting(process: BridgeProcess) -> bool:
    """Return what readiness says of commands."""
    return bool(json.loads(process.admin("/readyz")[1])["reasons"]["submitting"]["ok"])


def shown(endpoint: Webhook, command_id: str) -> tuple[int, dict[str, Any]]:
    """Ask for a command."""
    reply = endpoint.post(b"", method="GET", path=f"{PATH}/{quote(command_id, safe='')}", Content_Type=None)
    return reply.status, json.loads(reply.body)


def state_of(endpoint: Webhook, command_id: str) -> str | None:
    """Return the state of a command's first submission, once it is known."""
    status, said = shown(endpoint, command_id)
    return said["submissions"][0]["state"] if status == 200 else None


def test_a_command_is_sent_and_asked_for_until_it_is(
    start_command_api: StartCommandApi, bridge_process: StartBridge, env: Mapping[str, str], bench: Bench
) -> None:
    ingest, endpoint = start_command_api()
    answer = endpoint.post(body_of("ours/1", metadata={"order": "17"}), traceparent=TRACEPARENT)
    before, early = shown(endpoint, "ours/1")
    bridge_process("worker", env=env)
    (event,) = bench.outcomes("ours/1")
    wait_until(lambda: state_of(endpoint, "ours/1") == "sent", 10, what="the ledger to say so")
    status, said = shown(endpoint, "ours/1")
    (submission,) = said["submissions"]

    assert (answer.status, json.loads(answer.body)) == (202, {"id": "ours/1"})
    assert answer.headers["Location"] == f"{PATH}/ours%2F1"
    assert (before, early["status"]) == (404, 404)
    assert "may still wait in the queue" in early["detail"]
    assert event.json["traceparent"] == TRACEPARENT
    assert event.json["data"]["metadata"] == {"order": "17"}
    assert (status, said["id"], submission["attempts"]) == (200, "ours/1", 1)
    assert submission["outcome"]["id"] == event.json["id"]
    assert submission["outcome"]["data"]["destination_address"] == DESTINATION
    assert not {"message", "metadata"} & submission["outcome"]["data"].keys()
    assert bench.sms("ours/1") == 1
    lines = [json.loads(line) for line in ingest.logs.splitlines()]
    (queued,) = [line for line in lines if line["event"] == "command.queued"]

    assert (queued["command_id"], queued["status"], queued["client"]) == ("ours/1", 202, "127.0.0.1")


def test_a_command_comes_to_the_queue_byte_for_byte_with_its_key_beside_it(
    start_command_api: StartCommandApi, amqp: BrokerClient
) -> None:
    _, endpoint = start_command_api()
    body = b'{ "destinationAddress": ["+16135550123"], "message":"canary" }'
    answer = endpoint.post(body, idempotency_key='"key 1"', traceparent="nonsense")
    (message,) = amqp.take("sms.send", 1)

    assert (answer.status, json.loads(answer.body)) == (202, {"id": "key 1"})
    assert message.body == body
    assert message.properties["message_id"] == "key 1"
    assert message.properties["delivery_mode"] == 2
    assert message.properties["timestamp"]
    assert "traceparent" not in message.headers


def test_repeated_idempotency_key_is_one_sms(
    start_command_api: StartCommandApi, bridge_process: StartBridge, env: Mapping[str, str], bench: Bench
) -> None:
    _, endpoint = start_command_api()
    command = {"destinationAddress": DESTINATION, "senderAddress": "+16139998877", "message": text_of("k")}
    first = endpoint.post(command, idempotency_key="k")
    bridge_process("worker", env=env)
    bench.outcomes("k")
    wait_until(lambda: state_of(endpoint, "k") == "sent", 10, what="the ledger to say so")
    again = endpoint.post(command, idempotency_key='"k"')
    (one, other) = bench.outcomes("k", 2)
    conflict = endpoint.post({**command, "message": "canary another"}, idempotency_key="k")

    assert (first.status, again.status, conflict.status) == (202, 202, 409)
    assert one.body == other.body
    assert bench.sms("k") == 1


def test_scheduled_command_is_shown_as_waiting(
    start_command_api: StartCommandApi, bridge_process: StartBridge, env: Mapping[str, str]
) -> None:
    _, endpoint = start_command_api()
    later = rfc3339(time.time() + 3600)
    answer = endpoint.post(body_of("later", send_at=later, destination_address=[DESTINATION, "+16135550124"]))
    bridge_process("worker", env=env)
    wait_until(lambda: shown(endpoint, "later")[0] == 200, 10, what="a worker that takes it up")
    _, said = shown(endpoint, "later")

    assert answer.status == 202
    assert [(one["index"], one["state"], one["retry_at"]) for one in said["submissions"]] == [
        (0, "waiting", later),
        (1, "waiting", later),
    ]


def test_other_content_that_comes_too_soon_to_be_noticed_is_told_by_the_worker(
    start_command_api: StartCommandApi, bridge_process: StartBridge, env: Mapping[str, str], bench: Bench
) -> None:
    _, endpoint = start_command_api()
    statuses = [endpoint.post(body_of("k", message=text)).status for text in (text_of("k"), "canary other")]
    bridge_process("worker", env=env)
    types = {event.routing_key for event in bench.outcomes("k", 2)}

    assert statuses == [202, 202]
    assert types == {"sms.outbound.sent", "sms.outbound.invalid"}
    assert bench.sms("k") == 1


def test_while_the_broker_is_away_nothing_is_taken_and_nothing_comes_later(
    start_command_api: StartCommandApi, rabbitmq: Broker, amqp: BrokerClient
) -> None:
    ingest, endpoint = start_command_api()
    rabbitmq.kill()
    wait_until(lambda: not submitting(ingest), 10, what="the loss of the broker")
    away = [endpoint.post(body_of(f"lost {number}")) for number in range(3)]
    ready = ingest.admin("/readyz")[0]
    rabbitmq.start()
    wait_until(lambda: submitting(ingest), 20, what="the broker")
    again = endpoint.post(body_of("lost 0"))
    ids = [message.properties["message_id"] for message in amqp.take("sms.send", 1)]

    assert [reply.status for reply in away] == [503] * 3
    assert away[0].headers["Retry-After"] == "5"
    assert "again with the same id" in json.loads(away[0].body)["detail"]
    assert ready == 503  # without a spool nothing takes notifications, either
    assert (again.status, ids) == (202, ["lost 0"])
    assert amqp.depth("sms.send") == 0


def test_command_without_a_confirm_in_time_is_answered_503_and_can_be_repeated(
    start_command_api: StartCommandApi, rabbitmq: Broker, bridge_process: StartBridge, env: Mapping[str, str],
    bench: Bench,
) -> None:  # fmt: skip
    _, endpoint = start_command_api(BRIDGE_SUBMIT__CONFIRM_TIMEOUT="0.7")
    with rabbitmq.frozen():
        late = endpoint.post(body_of("slow"))
    answers = []

    def is_taken() -> bool:
        answers.append(endpoint.post(body_of("slow")).status)
        return answers[-1] == 202

    wait_until(is_taken, 20, what="a broker that confirms")
    bridge_process("worker", env=env)
    bench.outcomes("slow")

    assert late.status == 503
    assert "may be in the queue or not" in json.loads(late.body)["detail"]
    assert bench.sms("slow") == 1


@pytest.mark.executed
def test_a_flood_while_the_broker_says_nothing_takes_neither_memory_nor_the_webhooks_time(
    start_command_api: StartCommandApi, rabbitmq: Broker, amqp: BrokerClient, tmp_path: Path
) -> None:
    ingest, endpoint = start_command_api(
        BRIDGE_SUBMIT__MAX_IN_FLIGHT="10",
        BRIDGE_SUBMIT__CONFIRM_TIMEOUT="0.5",
        BRIDGE_INGEST__SPOOL=str(tmp_path / "spool"),
    )
    webhook = Webhook(port=listening_port(ingest))
    large = body_of("large", metadata={"filling": "x" * 200_000})
    before = ingest.memory
    with rabbitmq.frozen(), ThreadPoolExecutor(20) as senders:
        statuses = set(senders.map(lambda _: endpoint.post(large).status, range(600)))
        began = time.monotonic()
        noticed = webhook.post(inbound("m1")).status
        seconds = time.monotonic() - began
    after = ingest.memory

    assert statuses == {503}
    assert after - before < 25, (before, after)
    assert (noticed, seconds < 3) == (204, True), seconds
    wait_until(lambda: submitting(ingest), 20, what="the broker")
    assert amqp.depth("sms.send") <= 30  # what was written before it was known to be frozen


def test_the_longest_command_is_taken_and_no_longer_one(
    start_command_api: StartCommandApi, amqp: BrokerClient
) -> None:
    _, endpoint = start_command_api()
    filling = "x" * (256 * 1024 - len(body_of("a", metadata={"k": ""})))
    bodies = [body_of("a", metadata={"k": filling + more}) for more in ("", "x")]

    assert [endpoint.post(body).status for body in bodies] == [202, 413]
    assert [message.body for message in amqp.take("sms.send", 1)] == bodies[:1]


def test_the_example_comes_again_by_itself_until_the_broker_is_back(
    start_command_api: StartCommandApi, rabbitmq: Broker, amqp: BrokerClient
) -> None:
    if shutil.which("curl") is None:
        missing_program("curl")
    ingest, endpoint = start_command_api()
    rabbitmq.kill()
    wait_until(lambda: not submitting(ingest), 10, what="the loss of the broker")
    settings = {"SUBMIT_URL": f"http://127.0.0.1:{endpoint.port}", "SUBMIT_AUTHORIZATION": SECRET}
    with subprocess.Popen(
        ["sh", str(EXAMPLE)], env=clean_environment(settings), stdout=subprocess.PIPE, text=True
    ) as example:
        wait_until(lambda: '"command.refused"' in ingest.logs, 10, what="the first try")
        rabbitmq.start()
        printed, _ = example.communicate(timeout=60)
    (message,) = amqp.take("sms.send", 1)

    assert (example.returncode, printed.strip()) == (0, message.properties["message_id"])
    assert message.json["message"] == "Your code is 123456"


def test_without_a_queue_for_commands_nothing_is_taken(
    start_command_api: StartCommandApi, amqp: BrokerClient
) -> None:
    _, endpoint = start_command_api()
    # The second one is the delay's.
    for key in ("send", "#.send"):
        amqp.unbind("sms.send", "sms.commands", key)
    unrouted = endpoint.post(body_of("nowhere"))

    def is_taken() -> bool:
        return endpoint.post(body_of("somewhere")).status == 202

    # What is missing the ingest declares, where it may.
    wait_until(is_taken, 20, what="the binding")

    assert unrouted.status == 503
    assert "no queue for commands" in json.loads(unrouted.body)["detail"]
    assert [message.json["id"] for message in amqp.take("sms.send", 1)] == ["somewhere"]


def test_command_answered_202_survives_the_ingest_and_the_broker(
    start_command_api: StartCommandApi, bridge_process: StartBridge, env: Mapping[str, str], bench: Bench,
    rabbitmq: Broker,
) -> None:  # fmt: skip
    ingest, endpoint = start_command_api()
    ids = [f"kept {number}" for number in range(20)]
    statuses = [endpoint.post(body_of(command_id)).status for command_id in ids]
    ingest.stop(signal.SIGKILL)
    rabbitmq.restart()
    bridge_process("worker", env=env)
    for command_id in ids:
        bench.outcomes(command_id, within=30)

    assert statuses == [202] * 20
    assert [bench.sms(command_id) for command_id in ids] == [1] * 20


def test_each_of_several_authorizations_is_let_in_and_nothing_else(
    start_command_api: StartCommandApi, amqp: BrokerClient
) -> None:
    ingest, endpoint = start_command_api(BRIDGE_SUBMIT__AUTHORIZATION=f"{SECRET},{OLD_SECRET}")
    given = [SECRET, OLD_SECRET, None, "Bearer hunter2-wrong"]
    replies = [endpoint.post(body_of("a"), authorization=value) for value in given]

    def ask(authorization: str | None) -> int:
        return endpoint.post(b"", method="GET", path=f"{PATH}/a", authorization=authorization).status

    # The ledger may not be open yet.
    wait_until(lambda: ask(OLD_SECRET) == 404, 20)
    asked = [ask(value) for value in given[1:]]
    scraped = ingest.admin("/metrics")[1]

    assert [reply.status for reply in replies] == [202, 202, 401, 401]
    assert replies[2].headers["Www-Authenticate"] == "Bearer"
    assert asked == [404, 401, 401]
    assert amqp.depth("sms.send") == 2
    assert 'sms_bridge_submit_requests_total{code="202",operation="submit"} 2.0' in scraped
    assert 'sms_bridge_submit_requests_total{code="401",operation="show"} 2.0' in scraped


def test_the_two_doors_open_to_each_ones_own_key_alone(start_command_api: StartCommandApi) -> None:
    ingest, endpoint = start_command_api(BRIDGE_INGEST__AUTHORIZATION=OLD_SECRET)
    webhook = Webhook(port=listening_port(ingest), authorization=OLD_SECRET)
    statuses = [
        webhook.post(inbound("m1")).status,
        webhook.post(inbound("m2"), authorization=SECRET).status,
        endpoint.post(body_of("a"), authorization=OLD_SECRET).status,
        webhook.post(body_of("a"), path=PATH).status,
        endpoint.post(inbound("m3"), path="/inbound-sms/webhook").status,
    ]

    assert statuses == [204, 401, 401, 404, 404]


@pytest.mark.parametrize("command", ["ingest", "up"])
def test_without_an_authorization_nothing_starts_that_would_take_commands(
    bridge_process: StartBridge, env: Mapping[str, str], command: str
) -> None:
    process = bridge_process(command, env={**env, "BRIDGE_SUBMIT__PORT": "0"}, ready=False)

    assert process.wait() == 78
    assert process.logs.startswith("submit.authorization: is missing")


def test_a_worker_of_the_same_file_needs_no_authorization(
    bridge_process: StartBridge, env: Mapping[str, str]
) -> None:
    worker = bridge_process("worker", env={**env, "BRIDGE_SUBMIT__PORT": "0"})

    assert worker.stop() == 0


def test_without_a_ledger_commands_are_taken_and_none_is_shown(
    start_command_api: StartCommandApi, amqp: BrokerClient
) -> None:
    _, endpoint = start_command_api(BRIDGE_LEDGER__URL="sqlite:////nowhere/ledger.sqlite3")
    taken = endpoint.post(body_of("a"))
    status, said = shown(endpoint, "a")

    assert (taken.status, amqp.depth("sms.send")) == (202, 1)
    assert (status, said["title"]) == (503, "Service Unavailable")
    assert "ledger is unavailable" in said["detail"]


def test_one_process_accepts_commands_and_sends_them(
    bridge_process: StartBridge, env: Mapping[str, str], bench: Bench
) -> None:
    own = {"BRIDGE_INGEST__PORT": "0", "BRIDGE_SUBMIT__PORT": "0", "BRIDGE_SUBMIT__AUTHORIZATION": SECRET}
    up = bridge_process("up", env={**env, **own})
    endpoint = endpoint_of(up)
    wait_until(lambda: submitting(up), 10, what="the broker")
    answer = endpoint.post(body_of("here"))
    bench.outcomes("here")
    wait_until(lambda: state_of(endpoint, "here") == "sent", 10, what="the ledger to say so")

    assert answer.status == 202
    assert bench.sms("here") == 1


def test_whatever_schemathesis_asks_is_answered_as_the_contract_says(
    start_command_api: StartCommandApi, bridge_process: StartBridge, env: Mapping[str, str], tmp_path: Path
) -> None:
    ingest, endpoint = start_command_api()
    bridge_process("worker", env=env)
    code, said = report(endpoint, tmp_path, "--max-examples", "30", *UNSAID, contract=SUBMIT)
    answered = re.findall(
        r'submit_requests_total{code="(\d+)",operation="(\w+)"} [^0]', ingest.admin("/metrics")[1]
    )

    assert (code, CLEAN in said) == (0, True), said
    assert {("202", "submit"), ("400", "submit"), ("401", "submit"), ("422", "submit")} <= set(answered)
    assert {("401", "show"), ("404", "show"), ("405", "none")} <= set(answered)
