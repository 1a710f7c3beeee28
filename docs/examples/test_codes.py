"""Tests of a service that sends SMS, without an account. Needs sms-bridge[server], pytest and a RabbitMQ."""

import json
import os
import subprocess
import time
import uuid
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from bridge.client import Client

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f")
PORT = os.environ.get("SIMULATOR_PORT", "8090")
SIMULATOR = f"http://127.0.0.1:{PORT}/_simulator"


def ask(path, document=None):
    body = None if document is None else json.dumps(document).encode()
    with urlopen(Request(f"{SIMULATOR}/{path}", body, {"Content-Type": "application/json"})) as answer:
        return json.loads(answer.read() or "null")


def sent_texts(login):
    return [sent["message"] for sent in ask("journal") if login in sent["message"]]


def wait_for_simulator():
    for _ in range(300):
        try:
            return ask("stats")
        except URLError:
            time.sleep(0.1)
    raise TimeoutError("the simulator did not start")


@pytest.fixture(scope="session", autouse=True)
def bridge():
    settings = {
        "BRIDGE_BROKER__URL": AMQP_URL,
        "BRIDGE_CPAAS__BASE_URL": f"http://127.0.0.1:{PORT}",
        "BRIDGE_CPAAS__CLIENT_ID": "test",
        "BRIDGE_CPAAS__CLIENT_SECRET": "test",
        # Kept between runs: the queue on the broker accepts no other ledger.
        "BRIDGE_LEDGER__URL": f"sqlite:///{Path(__file__).with_name('ledger.sqlite3')}",
        "BRIDGE_INGEST__PORT": "0",
        "BRIDGE_ADMIN__PORT": "0",
    }
    env = {**os.environ, **settings}
    simulator = subprocess.Popen(["bridge", "simulator", "--port", PORT])
    subprocess.run(["bridge", "topology", "declare"], env=env, check=True)
    worker = subprocess.Popen(["bridge", "up"], env=env)
    wait_for_simulator()
    yield
    for process in (worker, simulator):
        process.terminate()
        process.wait()


@pytest.fixture
def sms():
    with Client(AMQP_URL) as client:
        yield client


@pytest.fixture
def login():
    return f"login-{uuid.uuid4()}"


def test_a_repeated_command_is_one_sms(sms, login):
    for _ in range(2):
        result = sms.send_and_wait(to="+16131234567", message=f"42 is your code, {login}", id=login, wait=60)
        assert result.status == "sent"

    assert sent_texts(login) == [f"42 is your code, {login}"]


@pytest.mark.parametrize(
    ("number", "status"), [("+18885550100", "undeliverable"), ("+19995550100", "rejected")]
)
def test_a_bad_number_has_its_outcome(sms, login, number, status):
    assert sms.send_and_wait(to=number, message=f"42 is your code, {login}", id=login).status == status


def test_a_lost_response_does_not_send_twice(sms, login):
    ask("faults", [{"name": "accept-drop"}])
    result = sms.send_and_wait(to="+16131234567", message=f"42 is your code, {login}", id=login, wait=60)

    assert (result.status, result.outcomes[0].reconciled) == ("sent", True)
    assert len(sent_texts(login)) == 1
