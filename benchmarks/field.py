"""The shared environment: one RabbitMQ, one stand-in for the provider, the same queues for all contestants."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.request import urlopen

import amqp

from benchmarks import machine
from tests.harness.broker import Broker
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HERE = Path(__file__).parent
#: Where events are counted: bound to the exchange of the contestant.
EVENTS = "bench.events"
QUORUM = {"x-queue-type": "quorum"}


class Field:
    """One broker for the run, and a new virtual host for each measurement."""

    def __init__(self) -> None:
        self.broker = Broker()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.callback(self.broker.stop)
        self.broker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def pitch(self, latency: float) -> Iterator[Pitch]:
        """Give one measurement a virtual host, and a provider that takes `latency` seconds."""
        host = self.broker.new_vhost()
        provider = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.standin", str(latency)], stdout=subprocess.PIPE, text=True
        )
        connection = amqp.Connection(
            f"127.0.0.1:{self.broker.port}", virtual_host=host, userid="guest", password="guest", heartbeat=0
        )
        try:
            connection.connect()
            assert provider.stdout is not None
            with tempfile.TemporaryDirectory(prefix="bench-") as directory:
                url = f"http://127.0.0.1:{int(provider.stdout.readline())}"
                pitch = Pitch(self.broker.url(host), url, connection.channel(), Path(directory))
                pitch.host, pitch.provider_pid = host, provider.pid
                yield pitch
        finally:
            provider.kill()
            provider.wait()
            connection.close()


class Pitch:
    """The virtual host and the stand-in of one measurement."""

    #: The virtual host's name, and the stand-in's process.
    host = ""
    provider_pid = 0

    def __init__(self, broker: str, provider: str, channel: amqp.Channel, directory: Path) -> None:
        self.broker = broker
        self.provider = provider
        self.channel = channel
        self.directory = directory
        channel.confirm_select()

    def collect(self, exchange: str) -> None:
        """Count what is published to `exchange` from now on."""
        self.channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)
        self.channel.queue_declare(EVENTS, durable=True, auto_delete=False, arguments=QUORUM)
        self.channel.queue_bind(EVENTS, exchange, "#")

    def depth(self, queue: str = EVENTS) -> int:
        """Return how many messages are in a queue."""
        count: int = self.channel.queue_declare(queue, passive=True).message_count
        return count

    def wait_events(self, number: int, within: float = 300) -> None:
        """Wait for so many events."""
        wait_until(lambda: self.depth() >= number, within, every=0.02, what=f"{number} events")

    def arrivals(self) -> list[tuple[float, str]]:
        """Return when which texts came to the provider since this was asked last."""
        with urlopen(f"{self.provider}/arrivals", timeout=30) as answer:  # noqa: S310 - always http
            arrived: list[tuple[float, str]] = json.load(answer)
        return arrived


class Running:
    """A contestant's processes."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], directory: Path, cwd: Path) -> None:
        self._log = (directory / "log").open("w")
        self._child = subprocess.Popen(
            command,
            env={**_plain(), **env},
            cwd=cwd,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        self._cost = 0.0
        self._began = 0.0

    @property
    def pid(self) -> int:
        """The first process's id."""
        return self._child.pid

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Pause it while its work is prepared."""
        self.stand_still()
        yield
        self.go_on()

    def stand_still(self) -> None:
        """Pause it."""
        for pid in machine.tree(self.pid):
            os.kill(pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Resume it, and count from now on."""
        self.begin()
        for pid in machine.tree(self.pid):
            os.kill(pid, signal.SIGCONT)

    def cost(self) -> tuple[float, float]:
        """Return the seconds that passed, and the processor seconds, since it was paused last."""
        return time.monotonic() - self._began, machine.processor_seconds(self.pid) - self._cost

    def begin(self) -> None:
        """Count from now on."""
        self._cost, self._began = machine.processor_seconds(self.pid), time.monotonic()

    def stop(self) -> None:
        """End it at once."""
        os.killpg(self.pid, signal.SIGKILL)
        self._child.wait()
        self._log.close()


def _plain() -> dict[str, Any]:
    """Return our environment without the variables that configure a bridge."""
    return {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")}
