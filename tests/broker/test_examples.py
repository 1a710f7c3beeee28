"""Each example of docs/examples works with its own default URL."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import uuid
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.domain.events import make_event
from tests.broker.client_setup import Worker, outcome, publish
from tests.harness.broker import Broker
from tests.harness.broker_client import BrokerClient
from tests.harness.missing_program import missing_program
from tests.harness.processes import clean_environment
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.harness.broker_client import Message

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
#: Where scripts/install-test-tools puts what the examples need.
RUNTIMES = Path(sys.prefix) / "example-runtimes"


def run(*command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run an example as a reader would."""
    return subprocess.run(
        command, env=environment(env), capture_output=True, text=True, timeout=30, check=False
    )


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return a reader's environment: the libraries are installed, and `AMQP_URL` is not set."""
    env = clean_environment({"NODE_PATH": str(RUNTIMES / "node_modules")})
    env.pop("AMQP_URL", None)
    return {**env, **extra}


def with_its_default(name: str, port: int, directory: Path) -> str:
    """Return a copy of an example whose default URL has another port, and no other difference."""
    text = (EXAMPLES / name).read_text()
    # Node.js 18 tries the first address of `localhost` alone, which is ::1 where the machine has IPv6.
    host = "127.0.0.1" if name.endswith(".js") else "localhost"
    assert text.count(f"@{host}:5672/%2f") == 1
    copy = directory / name
    copy.write_text(text.replace(f"@{host}:5672/", f"@{host}:{port}/"))
    return str(copy)


@pytest.fixture
def plain(rabbitmq: Broker, vhost: str) -> Iterator[BrokerClient]:
    """Connect to the virtual host of the examples' default URL, with nothing in it."""
    with BrokerClient(rabbitmq.empty_default_vhost()) as peer:
        yield peer


def make_queue(peer: BrokerClient) -> None:
    """Declare what the bridge declares for commands."""
    with peer.channel() as channel:
        channel.exchange_declare("sms.commands", "topic", durable=True, auto_delete=False)
    peer.declare_queue("sms.send", {"x-queue-type": "quorum"})
    peer.bind("sms.send", "sms.commands", "send")


def assert_is_the_command(message: Message, printed: str) -> None:
    """Check the command that is in the queue."""
    assert str(uuid.UUID(printed.strip())) == message.json["id"]
    assert message.json["message"] == "Your code is 123456"
    assert "+16131234567" in message.json.values()
    assert message.properties["delivery_mode"] == 2
    assert message.properties["content_type"] == "application/json"


def interpreter(language: str) -> tuple[str, ...]:
    """Return what runs an example, which the test needs with its library."""
    if language == "py":
        return (sys.executable,)
    name, program, library = {
        "js": ("node", "require('amqplib')", "amqplib"),
        "rb": ("ruby", "require 'bunny'", "bunny"),
    }[language]
    found = shutil.which(name)
    if found is None or run(found, "-e", program).returncode:
        missing_program(f"{name} with {library}")
    return (found,)


@pytest.mark.broker
@pytest.mark.parametrize("language", ["py", "js", "rb"])
def test_an_example_sends_with_its_default_url(
    language: str, plain: BrokerClient, rabbitmq: Broker, tmp_path: Path
) -> None:
    program = (*interpreter(language), with_its_default(f"send.{language}", rabbitmq.port, tmp_path))
    make_queue(plain)
    sent = run(*program)
    (message,) = plain.take("sms.send")
    plain.delete("sms.send")
    unsent = run(*program)

    assert sent.returncode == 0, sent.stderr
    assert_is_the_command(message, sent.stdout)
    assert unsent.returncode == 1
    assert ("NO_ROUTE" if language == "py" else "no queue is bound") in unsent.stderr


@pytest.mark.broker
def test_the_example_of_the_client_sends_and_shows_what_became_of_it(
    plain: BrokerClient, rabbitmq: Broker, tmp_path: Path
) -> None:
    program = (sys.executable, with_its_default("send_with_client.py", rabbitmq.port, tmp_path))
    unsent = run(*program)
    make_queue(plain)
    rejected = outcome("login-4711", type_="sms.outbound.rejected")
    worker = Worker(plain, [outcome("login-4711")], [rejected], [])
    sent, refused = run(*program), run(*program)
    late = run(*program, WAIT="0.1")
    worker.join()

    assert (unsent.returncode, unsent.stderr.split(":")[0]) == (1, "Unroutable")
    assert (sent.returncode, sent.stdout) == (0, "login-4711 sent m1\n"), sent.stderr
    assert (refused.returncode, refused.stderr) == (1, "command login-4711: rejected (invalid)\n")
    assert (late.returncode, late.stderr) == (1, "login-4711 has no outcome yet\n")


#: The queue of each example, and what it is started with beside the broker's URL.
CONSUMERS = {"py": "billing.sms", "js": "billing.sms.node", "rb": "billing.sms.ruby"}


@pytest.mark.broker
@pytest.mark.parametrize("language", CONSUMERS)
def test_the_example_consumes_each_event_once_and_acks_it_afterwards(
    language: str, plain: BrokerClient, tmp_path: Path, rabbitmq: Broker
) -> None:
    queue = CONSUMERS[language]
    program = [*interpreter(language), with_its_default(f"consume.{language}", rabbitmq.port, tmp_path)]
    env = environment({"DATABASE": str(tmp_path / "sms.sqlite3")})
    printed = tmp_path / "stdout"
    with printed.open("wb") as out, subprocess.Popen(program, env=env, stdout=out) as child:
        try:
            wait_until(lambda: plain.exists(queue) and plain.consumers(queue), 20, what="a consumer")
            for command_id in ("c1", "c1", "c2", "c1"):
                publish(plain, command_id)
            plain.publish(b"no event", exchange="sms.events", routing_key="sms.inbound.received")
            (letter,) = plain.take(f"{queue}.dead")
            publish(plain, "c3")
            wait_until(lambda: "c3" in printed.read_text(), what="what came last")
            wait_until(lambda: nothing_left(rabbitmq, "/", queue), what="an empty queue")
            child.terminate()
            code = child.wait(10)
        finally:
            child.kill()

    assert printed.read_text().splitlines() == [f'sms.outbound.sent "{name}"' for name in ("c1", "c2", "c3")]
    assert letter.body == b"no event"
    assert code == 0


@pytest.mark.broker
@pytest.mark.parametrize("language", CONSUMERS)
def test_an_example_consumes_an_event_with_any_text(
    language: str, plain: BrokerClient, tmp_path: Path, rabbitmq: Broker
) -> None:
    queue = CONSUMERS[language]
    program = [*interpreter(language), with_its_default(f"consume.{language}", rabbitmq.port, tmp_path)]
    env = environment({"DATABASE": str(tmp_path / "sms.sqlite3"), "PYTHONIOENCODING": "ascii"})
    printed, errors = tmp_path / "stdout", tmp_path / "stderr"
    published = count()

    @settings(max_examples=50, deadline=None)
    @given(st.text(st.characters(), min_size=1), st.text(st.characters()))
    def publish_any(subject: str, text: str) -> None:
        event = make_event(
            id=f"e{next(published)}", type="sms.inbound.received", source="/sms-bridge", time=0,
            subject=subject, data={"message": text},
        )  # fmt: skip
        plain.publish(event.body, exchange="sms.events", routing_key=event.type)

    with (
        printed.open("wb") as out,
        errors.open("wb") as err,
        subprocess.Popen(program, env=env, stdout=out, stderr=err) as child,
    ):
        try:
            wait_until(lambda: plain.exists(queue) and plain.consumers(queue), what="a consumer")
            publish_any()
            wait_until(lambda: nothing_left(rabbitmq, "/", queue), every=0.5, what="an empty queue")
        finally:
            child.terminate()
            child.wait(10)

    assert errors.read_text() == ""
    assert len(printed.read_bytes().split(b"\n")) == next(published) + 1
    assert plain.depth(f"{queue}.dead") == 0


def nothing_left(broker: Broker, vhost: str, queue: str) -> bool:
    """Whether a queue has nothing, held by a consumer or not."""
    return broker.held(vhost, queue) == 0


def says(out: Path, text: str) -> bool:
    """Whether a text is in what a program wrote."""
    return text in out.read_text()


@pytest.mark.broker
def test_the_python_example_remembers_what_it_handled_in_its_database(
    amqp: BrokerClient, tmp_path: Path
) -> None:
    printed = []
    for command_id in ("c1", "c2"):
        out = tmp_path / command_id
        env = clean_environment({"AMQP_URL": amqp.url, "DATABASE": str(tmp_path / "sms.sqlite3")})
        program = [sys.executable, str(EXAMPLES / "consume.py")]
        with out.open("wb") as stream, subprocess.Popen(program, env=env, stdout=stream) as child:
            try:
                wait_until(lambda: amqp.exists("billing.sms") and amqp.consumers("billing.sms"), 20)
                publish(amqp, "c1")
                publish(amqp, command_id)
                wait_until(partial(says, out, command_id), what="an event")
            finally:
                child.kill()
        printed.append(out.read_text().splitlines())

    assert printed == [['sms.outbound.sent "c1"'], ['sms.outbound.sent "c2"']]


@pytest.fixture
def managed() -> Iterator[Broker]:
    """Run a broker with the management plugin, which rabbitmqadmin talks to."""
    if shutil.which("rabbitmqadmin") is None:
        missing_program("rabbitmqadmin")
    broker = Broker(plugins="rabbitmq_management")
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@pytest.mark.broker
def test_the_shell_example_sends_and_fails_where_no_queue_is_bound(managed: Broker) -> None:
    command = (str(EXAMPLES / "send.sh"), "--port", str(managed.management_port))
    unsent = run(*command)
    with BrokerClient(managed.url("%2f")) as peer:
        make_queue(peer)
        sent = run(*command)
        (message,) = peer.take("sms.send")

    assert unsent.returncode == 1
    assert sent.returncode == 0, sent.stderr
    assert_is_the_command(message, sent.stdout)


@pytest.mark.broker
def test_the_web_service_sends_waits_and_says_what_went_wrong(
    plain: BrokerClient, rabbitmq: Broker, tmp_path: Path
) -> None:
    with_its_default("fastapi_app.py", rabbitmq.port, tmp_path)
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "fastapi_app:app",
        "--port",
        str(port),
        "--log-level",
        "warning",
    ]
    log = tmp_path / "stderr"
    with (
        log.open("wb") as err,
        subprocess.Popen(command, cwd=tmp_path, env=environment({"WAIT": "5"}), stderr=err) as child,
    ):
        try:
            wait_until(lambda: post(port, {}) is not None, 30, what="the service")
            unroutable = post(port, {"login": "1", "to": "+16131234567", "code": "42"})
            invalid = post(port, {"login": "1", "to": "me", "code": "42"})
            make_queue(plain)
            worker = Worker(plain, [outcome("login-2")], [outcome("login-3", type_="sms.outbound.rejected")])
            sent = post(port, {"login": "2", "to": "+16131234567", "code": "42"})
            rejected = post(port, {"login": "3", "to": "+16131234567", "code": "42"})
            worker.join()
            child.terminate()
            child.wait(15)
        finally:
            child.kill()

    assert unroutable == (503, {"detail": "Unroutable"}), log.read_text()
    assert invalid is not None
    assert invalid[0] == 422
    assert "to is not one of the accepted forms" in str(invalid[1])
    assert sent == (200, {"id": "login-2", "status": "sent"})
    assert rejected == (502, {"detail": "rejected"})
    assert log.read_text() == ""


def post(port: int, document: dict[str, str]) -> tuple[int, Any] | None:
    """Return the service's answer; None while it does not listen."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", "/codes", json.dumps(document), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except ConnectionRefusedError:
        return None
    finally:
        connection.close()
