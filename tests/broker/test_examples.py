"""What the README shows is what lies in docs/examples, and it works against a real broker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.broker_harness import Broker
from tests.peer import Peer
from tests.processes import clean_environment
from tests.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.peer import Message

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"


def run(*command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run an example as a reader would."""
    return subprocess.run(
        command, env=clean_environment(env), capture_output=True, text=True, timeout=30, check=False
    )


def make_queue(peer: Peer) -> None:
    """Declare what the bridge declares for commands."""
    with peer.channel() as channel:
        channel.exchange_declare("sms.commands", "topic", durable=True, auto_delete=False)
    peer.declare_queue("sms.send", {"x-queue-type": "quorum"})
    peer.bind("sms.send", "sms.commands", "send")


def assert_is_the_command(message: Message, printed: str) -> None:
    """Look at the command as it lies on the queue."""
    assert str(uuid.UUID(printed.strip())) == message.json["id"]
    assert message.json["message"] == "Your code is 123456"
    assert "+16131234567" in message.json.values()
    assert message.properties["delivery_mode"] == 2
    assert message.properties["content_type"] == "application/json"


@pytest.mark.parametrize(("name", "language"), [("send.py", "python"), ("send.js", "js"), ("send.sh", "sh")])
def test_the_readme_shows_the_example_as_it_is(name: str, language: str) -> None:
    shown = re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)

    assert (EXAMPLES / name).read_text() in shown


@pytest.mark.broker
def test_the_python_example_sends(amqp: Peer) -> None:
    make_queue(amqp)
    sent = run(sys.executable, str(EXAMPLES / "send.py"), AMQP_URL=amqp.url)
    (message,) = amqp.take("sms.send")

    assert sent.returncode == 0, sent.stderr
    assert_is_the_command(message, sent.stdout)


@pytest.mark.broker
def test_the_python_example_fails_where_no_queue_is_bound(amqp: Peer) -> None:
    with amqp.channel() as channel:
        channel.exchange_declare("sms.commands", "topic", durable=True, auto_delete=False)
    sent = run(sys.executable, str(EXAMPLES / "send.py"), AMQP_URL=amqp.url)

    assert sent.returncode != 0
    assert "NO_ROUTE" in sent.stderr


@pytest.mark.broker
def test_the_node_example_sends(amqp: Peer) -> None:
    node = shutil.which("node")
    modules = os.environ.get("NODE_PATH", "")
    if node is None or run(node, "-e", "require('amqplib')", NODE_PATH=modules).returncode:
        pytest.skip(
            "no Node.js with amqplib here (npm install amqplib, and name its node_modules in NODE_PATH)"
        )
    make_queue(amqp)
    sent = run(node, str(EXAMPLES / "send.js"), AMQP_URL=amqp.url, NODE_PATH=modules)
    (message,) = amqp.take("sms.send")

    assert sent.returncode == 0, sent.stderr
    assert_is_the_command(message, sent.stdout)


@pytest.fixture
def managed() -> Iterator[tuple[Broker, int]]:
    """Run a broker with the management plugin, which rabbitmqadmin talks to."""
    if shutil.which("rabbitmqadmin") is None:
        pytest.skip("no rabbitmqadmin here")
    port = free_port()
    listener = f'[{{rabbitmq_management,[{{listener,[{{port,{port}}},{{ip,"127.0.0.1"}}]}}]}}].'
    broker = Broker(plugins="rabbitmq_management", advanced=listener)
    try:
        broker.start()
        yield broker, port
    finally:
        broker.stop()


@pytest.mark.broker
def test_the_shell_example_sends_and_fails_where_no_queue_is_bound(managed: tuple[Broker, int]) -> None:
    broker, port = managed
    vhost = broker.new_vhost()
    command = (str(EXAMPLES / "send.sh"), "--port", str(port), "--vhost", vhost)
    unsent = run(*command)
    with Peer(broker.url(vhost)) as peer:
        make_queue(peer)
        sent = run(*command)
        (message,) = peer.take("sms.send")

    assert unsent.returncode == 1
    assert sent.returncode == 0, sent.stderr
    assert_is_the_command(message, sent.stdout)
