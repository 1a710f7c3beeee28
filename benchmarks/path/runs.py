"""Sends real commands and webhooks, one at a time, through a traced `bridge up` on a separate broker.

The ledger is the default one, on SQLite. The webhook is authorized and has a spool, as in an installation.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, ClassVar

from benchmarks.field import HERE
from benchmarks.path.calls import Call, Path
from benchmarks.path.traced import TRACE
from benchmarks.path.window import COMMAND, WEBHOOK
from tests.harness.broker import Broker
from tests.harness.broker_client import BrokerClient
from tests.harness.processes import BridgeProcess
from tests.harness.waiting import free_port, wait_until
from tests.harness.webhook import inbound, listening_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The first commands and webhooks open connections, import modules and fill caches; they do not count.
WARM_UP = 20
SECRET = "Bearer path"  # noqa: S105 - of this run alone


class TracedBridge(BridgeProcess):
    """`bridge`, with the tracer inside."""

    program: ClassVar[tuple[str, ...]] = (sys.executable, "-m", "benchmarks.path.traced")


class Traced:
    """A warm bridge, with the provider's simulator and a queue bound to the events exchange."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Traced:
        """Start everything."""
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self._stack.close()

    def paths(self, runs: int) -> dict[str, list[Path]]:
        """Return the paths of so many commands and webhooks, in turns."""
        found: dict[str, list[Path]] = {COMMAND: [], WEBHOOK: []}
        sends: tuple[Callable[[str], None], ...] = (self._send_command, self._post_webhook)
        for number in range(WARM_UP + runs):
            for send in sends:
                kind, path = self._trace(send, number)
                if number >= WARM_UP:
                    found[kind].append(path)
        return found

    def _start(self) -> None:
        directory = FilePath(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="path-")))
        self._recordings = self._lines(directory / "recordings")
        broker = Broker()
        self._stack.callback(broker.stop)
        broker.start()
        url = broker.url(broker.new_vhost())
        self._amqp = self._stack.enter_context(BrokerClient(url))
        self._amqp.collect()
        simulator = BridgeProcess(directory / "simulator", "simulator", "--port", "0")
        self._stack.callback(simulator.kill)
        port = free_port()
        env = {
            "PYTHONPATH": str(HERE.parent),
            TRACE: str(directory / "recordings"),
            "BRIDGE_BROKER__URL": url,
            "BRIDGE_CPAAS__BASE_URL": f"http://127.0.0.1:{listening_port(simulator, 'simulator.started')}",
            "BRIDGE_CPAAS__CLIENT_ID": "path",
            "BRIDGE_CPAAS__CLIENT_SECRET": "path",
            "BRIDGE_INGEST__PORT": str(port),
            "BRIDGE_INGEST__AUTHORIZATION": SECRET,
            "BRIDGE_INGEST__SPOOL": str(directory / "spool"),
        }
        bridge = TracedBridge(directory / "bridge", "up", env=env)
        self._stack.callback(bridge.kill)
        bridge.wait_ready()
        # One connection for all: it is warm.
        self._provider = self._stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))

    def _trace(self, send: Callable[[str], None], number: int) -> tuple[str, Path]:
        send(f"{number}")
        kind, calls = json.loads(
            wait_until(lambda: next(self._recordings), 20, every=0.005, what="a recording")
        )
        return kind, Path.of(Call(*call) for call in calls)

    def _send_command(self, number: str) -> None:
        name = f"traced-{COMMAND}-{number}"
        command = {"id": name, "destination_address": "+16135550123", "message": f"Hello {name}"}
        self._amqp.publish(command, message_id=name)

    def _post_webhook(self, number: str) -> None:
        body = json.dumps(inbound(f"traced-{WEBHOOK}-{number}")).encode()
        head = (
            "POST /inbound-sms/webhook HTTP/1.1\r\nHost: path\r\nContent-Type: application/json\r\n"
            f"Authorization: {SECRET}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._provider.sendall(head.encode() + body)
        answer = self._provider.recv(4096)
        assert answer.startswith(b"HTTP/1.1 204"), answer

    @staticmethod
    def _lines(file: FilePath) -> Iterator[str]:
        """Yield each line that is appended to `file`, or nothing while there is no new one."""
        file.touch()
        with file.open() as recordings:
            line = ""
            while True:
                line += recordings.readline()
                if line.endswith("\n"):
                    yield line
                    line = ""
                else:
                    yield ""
