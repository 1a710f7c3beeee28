"""The suite's own RabbitMQ: isolated, able to be killed, frozen and alarmed, and gone afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from tests.harness.broker_client import BrokerClient

pytestmark = pytest.mark.broker


def test_messages_that_do_not_come_are_an_assertion_with_what_came(amqp: BrokerClient) -> None:
    amqp.publish({"n": 1}, exchange="sms.events", routing_key="a")

    with pytest.raises(AssertionError, match="1 came"):
        amqp.events(2, within=0.2)


SCRIPT = """
from tests.harness.broker import Broker
import sys
broker = Broker()
broker.start()
print(broker.pid, broker._epmd.pid, broker.home, flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_when_the_suite_itself_is_killed() -> None:
    suite = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert suite.stdin
    assert suite.stdout
    with suite.stdin, suite.stdout:
        beam, epmd, home = suite.stdout.readline().split()
        suite.send_signal(signal.SIGKILL)
        suite.wait(timeout=10)

    wait_until(lambda: not _alive(int(beam)) and not _alive(int(epmd)), what="no broker, no epmd")
    wait_until(lambda: not Path(home).exists(), what="no directory")


def _alive(pid: int) -> bool:
    """Whether `pid` runs; a zombie that its new parent has not collected yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return not state.stdout.startswith("Z")
