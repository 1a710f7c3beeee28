"""Every block of Python in docs/client.md runs as it stands there, against a real broker."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.domain.events import FAILED
from tests.broker.client_setup import Worker, outcome, prepare, publish
from tests.harness.processes import clean_environment
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from tests.harness.broker_client import BrokerClient

pytestmark = pytest.mark.broker

BLOCKS = re.findall(
    r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "client.md").read_text(), re.DOTALL
)
URL = "amqp://guest:guest@localhost:5672/%2f"
SENDING = [block for block in BLOCKS if "Client(" in block]
CONSUMING = [block for block in BLOCKS if "Consumer(" in block]


def test_every_block_is_one_of_these_and_names_the_broker() -> None:
    assert len(SENDING) + len(CONSUMING) == len(BLOCKS) == 6
    assert all(block.count(URL) == 1 for block in BLOCKS)


def program(block: str, url: str, directory: Path) -> list[str]:
    """Write a block down, with the test's broker in place of a reader's."""
    file = directory / "block.py"
    file.write_text(block.replace(URL, url))
    return [sys.executable, "-W", "error", str(file)]


@pytest.mark.parametrize(
    ("number", "printed"), [(0, "login-4711"), (1, "8"), (2, "sent [('sent', 'm1', None)]"), (3, "100")]
)
def test_a_block_that_sends_prints_what_it_says(
    number: int, printed: str, amqp: BrokerClient, tmp_path: Path
) -> None:
    prepare(amqp)
    worker = Worker(amqp, [outcome("hello-1")]) if "send_and_wait" in SENDING[number] else None
    done = subprocess.run(
        program(SENDING[number], amqp.url, tmp_path),
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if worker is not None:
        worker.join()

    assert (done.stderr, done.stdout.strip()) == ("", printed)


@pytest.mark.parametrize("number", [0, 1])
def test_a_block_that_consumes_prints_what_comes(number: int, amqp: BrokerClient, tmp_path: Path) -> None:
    printed = tmp_path / "printed"
    command = program(CONSUMING[number], amqp.url, tmp_path)
    with (
        printed.open("wb") as out,
        subprocess.Popen(
            command, env=clean_environment(), cwd=tmp_path, stdout=out, stderr=subprocess.DEVNULL
        ) as child,
    ):
        try:
            wait_until(lambda: amqp.exists("billing.sms") and amqp.consumers("billing.sms"), 20)
            publish(amqp, "c1", FAILED)
            wait_until(lambda: "failed" in printed.read_text(), what="the event")
            child.send_signal(signal.SIGINT)
            child.wait(10)
        finally:
            child.kill()

    assert len(printed.read_text().splitlines()) == 1
