"""Numbers, texts, tokens and passwords are planted wherever they can come in; nothing that is written has one.

Everything logs at debug, in each form. What a command prints because somebody asked for it (`events tail`, `dead show
--full`, `history messages --full`) is no log.
"""

from __future__ import annotations

import json
import signal
from functools import partial
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from tests.acceptance.commands import run
from tests.harness.sensitive_values import NUMBERS, SECRETS, TEXT, command_lines, leaks
from tests.harness.waiting import free_port, wait_until
from tests.harness.webhook import Webhook, inbound, listening_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import StartUnsearched
    from tests.harness.broker_client import BrokerClient
    from tests.harness.processes import BridgeProcess

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

FIRST, SECOND, THIRD = NUMBERS
METADATA = {"note": SECRETS["metadata"], "call": FIRST}
ECHO = {
    "requestError": {
        "serviceException": {
            "messageId": f"{TEXT} {FIRST}",
            "text": "Invalid input value for message part %1",
            "variables": [f"{TEXT} {FIRST} Bearer {SECRETS['token']}"],
        }
    }
}
#: What the provider does to one send after the other: it refuses with our words, with a page, with nothing, in ways
#: that leave a doubt.
FAULTS: list[dict[str, object]] = [
    {"name": "status", "status": 400, "body": json.dumps(ECHO)},
    {"name": "status", "status": 403, "body": f"<html>{TEXT} {FIRST}</html>"},
    {"name": "status", "status": 500, "body": json.dumps(ECHO)},
    {"name": "accept-drop"},
    {"name": "accept-truncate"},
    {"name": "garbage"},
    {"name": "drop"},
    {"name": "reset"},
]


@pytest.fixture(params=["json", "console"])
def form(request: pytest.FixtureRequest) -> str:
    """Return how the log is written."""
    name: str = request.param
    return name


@pytest.fixture
def simulator(unsearched_process: StartUnsearched, form: str) -> tuple[BridgeProcess, str]:
    """Run the stand-in for the provider as whoever tries the bridge out does."""
    port = free_port()
    env = {"BRIDGE_LOG__LEVEL": "debug", "BRIDGE_LOG__FORMAT": form}
    process = unsearched_process("simulator", "--port", str(port), env=env)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            urlopen(f"{url}/_simulator/journal", timeout=2).close()  # noqa: S310 - our own
        except URLError:
            return False
        return True

    wait_until(answers, 30, what="the simulator")
    return process, url


@pytest.fixture
def planted(
    vhost_url: str, simulator: tuple[BridgeProcess, str], form: str, tmp_path: Path
) -> dict[str, str]:
    """Return a configuration with a secret wherever it takes one."""
    return {
        "BRIDGE_BROKER__URL": vhost_url,
        "BRIDGE_CPAAS__BASE_URL": simulator[1],
        "BRIDGE_CPAAS__CLIENT_ID": "project",
        "BRIDGE_CPAAS__CLIENT_SECRET": SECRETS["client"],
        "BRIDGE_CPAAS__READ_TIMEOUT": "1",
        "BRIDGE_LEDGER__URL": f"sqlite:///{tmp_path}/ledger.sqlite3",
        "BRIDGE_INGEST__PORT": "0",
        "BRIDGE_INGEST__AUTHORIZATION": f"Bearer {SECRETS['webhook']}",
        "BRIDGE_INGEST__SPOOL": str(tmp_path / "spool"),
        "BRIDGE_SUBSCRIPTIONS__WEBHOOK_URL": "http://127.0.0.1:1/inbound-sms/webhook",
        "BRIDGE_RECONCILE__SETTLE": "0.5",
        "BRIDGE_RETRY__IN_PROCESS": "0.2",
        "BRIDGE_RETRY__BASE": "0.2",
        "BRIDGE_LOG__LEVEL": "debug",
        "BRIDGE_LOG__FORMAT": form,
    }


def command(command_id: object, **fields: object) -> dict[str, object]:
    return {
        "id": command_id, "destination_address": FIRST, "message": TEXT, "metadata": METADATA, **fields,
    }  # fmt: skip


#: Ids with a number of the command in each of its spellings, and one without.
IDS = (
    FIRST,
    f"order-{FIRST[2:]}",
    f"{FIRST[1:]}.20261130",
    "20261130001234",
    f"({FIRST[2:5]}) {FIRST[5:8]}-{FIRST[8:]}",
)
#: Each goes wrong in another field, and has something planted there.
BAD: list[object] = [
    f'{{"message": "{TEXT}", "destination_address": "{FIRST}"'.encode(),
    b"\xff\xfe" + TEXT.encode(),
    [TEXT, FIRST],
    command(f"{FIRST} b0", destination_address=f"{FIRST} {TEXT}"),
    command("b1", destination_address=[FIRST, FIRST]),
    command("b2", sender_address=f"{TEXT} {SECOND}"),
    command("b3", message={TEXT: FIRST}),
    command("b4", metadata={SECRETS["metadata"]: 5}),
    command("b5", send_at=f"{TEXT} {FIRST}"),
    command("b6", expires_at=FIRST),
    command("b7", type=SECRETS["metadata"]),
    command({TEXT: FIRST}),
    command(f"order-{FIRST[2:]}", send_at="tomorrow"),
    command(f"{SECOND[2:]} b10", sender_address=f"{SECOND} {TEXT}"),
    command(f"{SECOND[1:]} b11", senderAddress=[SECOND]),
    {"message": TEXT, "destinationAddress": FIRST, "destination_address": SECOND, "id": "b8"},
]


def scan(process: BridgeProcess, *bodies: str) -> None:
    """Check all that a process wrote, and what it answered."""
    written = {"stdout": process.stdout, "log": process.logs, "answers": "\n".join(bodies)}

    assert {name: leaks(text) for name, text in written.items()} == {name: [] for name in written}


def look_around(process: BridgeProcess) -> list[str]:
    """Return what strangers and other processes of the machine see of it."""
    return [
        *(process.admin(path)[1] for path in ("/metrics", "/readyz", "/livez")),
        command_lines(process.pid),
    ]


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.executed
def test_a_worker_tells_nothing(
    unsearched_process: StartUnsearched,
    planted: dict[str, str],
    simulator: tuple[BridgeProcess, str],
    amqp: BrokerClient,
    processes: str,
) -> None:
    amqp.collect()
    worker = unsearched_process("worker", env={**planted, "BRIDGE_WORKER__PROCESSES": processes})
    worker.wait_ready()
    post(f"{simulator[1]}/_simulator/faults", FAULTS)
    headers = {"x-note": TEXT, "traceparent": FIRST}
    replayed = {**headers, "x-bridge-replay": SECRETS["token"]}
    for number, body in enumerate(BAD):
        amqp.publish(body, headers=replayed, message_id=f"{FIRST}-{number}", correlation_id=SECRETS["token"])
    for number in range(len(FAULTS) + 2):
        amqp.publish(
            command(f"{IDS[number % len(IDS)]} {number}"),
            headers=headers,
            reply_to=f"{SECOND}.{TEXT}",
            correlation_id=TEXT,
        )
    amqp.publish(command(f"{IDS[0]} 0", message=f"another {TEXT}"))
    # It claims to be a dead letter, so it is looked up and not sent.
    amqp.publish(command(f"{IDS[1]} replayed"), headers=replayed)
    amqp.events(len(BAD) + len(FAULTS) + 4, within=60)
    wait_until(lambda: worker.logs.count("attempt.failed") >= len(FAULTS), 60, what="each fault")
    seen = look_around(worker)

    assert worker.stop() == 0
    scan(worker, *seen)
    assert simulator[0].stop() == 0
    scan(simulator[0])
    # Something was written, of the good and of the bad.
    assert worker.logs.count("submission.ended") >= 2
    assert worker.logs.count("command.invalid") >= len(BAD)
    # What is no number of the command is not hidden.
    assert "20261130001234 3" in worker.logs


@pytest.mark.executed
def test_an_ingest_tells_nothing(
    unsearched_process: StartUnsearched, planted: dict[str, str], amqp: BrokerClient
) -> None:
    amqp.collect()
    ingest = unsearched_process("ingest", env=planted)
    webhook = Webhook(port=listening_port(ingest) if planted["BRIDGE_LOG__FORMAT"] == "json" else port_of(ingest),
                      authorization=planted["BRIDGE_INGEST__AUTHORIZATION"])  # fmt: skip
    note = inbound("m-1", TEXT, senderAddress=FIRST, destinationAddress=SECOND)
    answers = [
        webhook.post(note),
        webhook.post(note, authorization=f"Bearer {SECRETS['token']}"),
        webhook.post(note, authorization=None, x_forwarded_for=FIRST),
        webhook.post(note, path=f"/{FIRST}/{TEXT.replace(' ', '-')}?token={SECRETS['token']}"),
        webhook.post(note, content_type=f"text/{SECRETS['token']}"),
        webhook.post(note, method="PUT"),
        webhook.post(f'{{"{TEXT}": "{FIRST}"'.encode()),
        webhook.post([TEXT, FIRST]),
        webhook.post({TEXT: {"number": FIRST, "token": SECRETS["token"]}}),
        webhook.post({"inboundSMSMessageNotification": {"inboundSMSMessage": {"message": 5, TEXT: FIRST}}}),
        webhook.post(b" " * 70_000 + TEXT.encode()),
    ]
    seen = look_around(ingest)
    amqp.events(3)

    assert [answer.status for answer in answers].count(204) == 3
    assert ingest.stop() == 0
    scan(ingest, *seen, *(answer.body.decode() for answer in answers), *(str(a.headers) for a in answers))


def test_what_can_not_be_reached_or_is_refused_is_told_without_secrets(
    unsearched_process: StartUnsearched, planted: dict[str, str]
) -> None:
    broker = planted["BRIDGE_BROKER__URL"].partition("@")[2]
    refused = {**planted, "BRIDGE_BROKER__URL": f"amqp://somebody:{SECRETS['broker']}@{broker}"}
    nowhere = {
        **planted,
        "BRIDGE_LEDGER__URL": f"postgresql+psycopg://somebody:{SECRETS['ledger']}@127.0.0.1:1/ledger?sslpassword="
        f"{SECRETS['ledger']}",
    }
    running = [
        unsearched_process(command, env=env) for command in ("worker", "ingest") for env in (refused, nowhere)
    ]
    for process in running:
        wait_until(partial(has_complained, process), 30, what="a complaint")
    seen = [look_around(process) for process in running]

    for process, answers in zip(running, seen, strict=True):
        process.stop(signal.SIGTERM)
        scan(process, *answers)


@pytest.mark.parametrize(
    "arguments",
    [
        ("send", "--to", FIRST, "--message", TEXT, "--id", FIRST),
        ("send", "--to", f"{TEXT}{FIRST}", "--message", TEXT),
        ("dead", "list"), ("dead", "show", TEXT),
        ("dead", "replay", "--all", "--yes"), ("dead", "purge", "--all", "--yes"),
        ("subscriptions", "list"), ("subscriptions", "sync"), ("subscriptions", "create", FIRST),
        ("history", "threads"), ("history", "messages", SECOND, THIRD),
        ("catch-up",), ("catch-up", "--dry-run"),
        ("ledger", "show"), ("ledger", "migrate"), ("ledger", "prune"), ("ledger", "adopt"),
        ("topology", "check"), ("topology", "declare"), ("config", "check"), ("config", "show"), ("schema",),
    ],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("way", ["well", "badly"])
@pytest.mark.parametrize("form", ["json"], indirect=True)
def test_a_command_tells_nothing_but_what_was_asked_for(
    planted: dict[str, str], amqp: BrokerClient, arguments: tuple[str, ...], way: str
) -> None:
    env = planted if way == "well" else {
        **planted,
        "BRIDGE_BROKER__URL": f"amqp://somebody:{SECRETS['broker']}@127.0.0.1:1/",
        "BRIDGE_LEDGER__URL": f"postgresql+psycopg://somebody:{SECRETS['ledger']}@127.0.0.1:1/ledger",
        "BRIDGE_CPAAS__CLIENT_ID": "project", "BRIDGE_CPAAS__CLIENT_SECRET": "wrong",
        "BRIDGE_CPAAS__EMAIL": "somebody@example.com", "BRIDGE_CPAAS__PASSWORD": SECRETS["account"],
    }  # fmt: skip
    done = run(*arguments, env=env)
    # What was typed is on the operator's own screen already.
    published = "\n".join(line for line in done.stderr.splitlines() if "Try 'bridge" not in line)

    assert leaks(published) == []
    assert leaks(done.stdout) == []


def test_a_configuration_that_is_refused_is_not_quoted(planted: dict[str, str], tmp_path: Path) -> None:
    bad = {
        **planted,
        "BRIDGE_BROKER__URL": f"http://somebody:{SECRETS['broker']}@/",
        "BRIDGE_LEDGER__URL": f"mysql://somebody:{SECRETS['ledger']}@host/db",
        "BRIDGE_CPAAS__PROXY": f"ftp://somebody:{SECRETS['account']}@proxy",
        "BRIDGE_CPAAS__CLIENT_SECRET_FILE": str(tmp_path / "nowhere"),
        "BRIDGE_INGEST__AUTHORIZATION": f"Bearer {SECRETS['webhook']}\x01,",
        "BRIDGE_WORKER__CONCURRENCY": SECRETS["metadata"],
        "BRIDGE_SUBSCRIPTIONS__NUMBERS": f"{FIRST},{TEXT}",
    }
    for arguments in (("config", "check"), ("config", "show"), ("worker",), ("ingest",), ("up",)):
        done = run(*arguments, env=bad)

        assert done.code == 78
        assert leaks(done.stderr + done.stdout) == []


def has_complained(process: BridgeProcess) -> bool:
    return any(event in process.logs for event in ("unreachable", "unavailable", "not_deduplicated"))


def port_of(ingest: BridgeProcess) -> int:
    """Return the ingest's port where its log is for people."""

    def found() -> int | None:
        for line in ingest.logs.splitlines():
            if "ingest.listening" in line:
                return int(line.partition("port=")[2].split()[0])
        return None

    return wait_until(found, 30, what="the ingest's port") or 0


def post(url: str, document: object) -> None:
    body = json.dumps(document).encode()
    urlopen(Request(url, data=body, headers={"Content-Type": "application/json"}), timeout=5).close()  # noqa: S310
