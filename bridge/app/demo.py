"""Demo: `bridge up` without a configured broker and account.

It runs the worker and the ingest with a broker and a provider inside the process, and a ledger in a directory that is
deleted at the end.
"""

from __future__ import annotations

import json
import socket
import threading
import uuid
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.request import ProxyHandler, Request, build_opener

import structlog
from pydantic import SecretStr

from bridge.adapters.amqp.embedded import EmbeddedBroker
from bridge.app import command_client
from bridge.app.broker import BrokerConnections
from bridge.app.log import configure_log
from bridge.app.process import begin_process
from bridge.app.up import run_both
from bridge.domain.contracts.commands import SEND, SUBMIT_PATH
from bridge.domain.messages import Outgoing
from bridge.ops.console import EventConsole, show_event
from bridge.settings.values import SecretUrl
from bridge.simulator import Simulator

if TYPE_CHECKING:
    from bridge.adapters.store.ledger import SqlLedger
    from bridge.app.ingest import IngestProcess
    from bridge.app.process import ProcessContext
    from bridge.settings import Settings
    from bridge.settings.sections import AdminSettings, IngestSettings
    from bridge.worker.worker import Worker

#: The destination of the sample command, which also answers it.
SAMPLE_NUMBER = "+16131234567"
SIMULATOR_PORT = 8090


def run_demo(settings: Settings) -> int:
    """Run the demo until it is stopped; returns the exit code."""
    # The demo shows events: the log has warnings only.
    if settings.log.format is None:
        settings = _changed(settings, log={"level": "warning"})
    configure_log(settings)
    simulator = Simulator()
    _start(simulator)
    try:
        with TemporaryDirectory(prefix="sms-bridge-") as directory:
            settings = _demo_settings(settings, simulator.url, f"sqlite:///{directory}/ledger.sqlite3")
            context = begin_process(settings)
            demo = _Demo(context, simulator.url)
            try:
                code = run_both(context, demo, demo.started)
            finally:
                demo.embedded.close()
    finally:
        simulator.stop()
    demo.console.print("\nStopped. Nothing was kept.")
    return code


class _Demo(BrokerConnections):
    """The broker inside the process, and the console that shows its events."""

    def __init__(self, context: ProcessContext, provider: str) -> None:
        super().__init__(context)
        self.console = EventConsole(context.stopping.event.set)
        self.embedded = EmbeddedBroker(
            self.topology, context.clock, watch=self._on_event, on_crash=context.stopping.crash
        )
        self.embedded.open()
        self._provider = provider
        self._sample = f"sample-{uuid.uuid4()}"

    def publisher(self, _name: str, *, limit: int) -> EmbeddedBroker:  # noqa: ARG002 - it takes all
        """Return the broker."""
        return self.embedded

    def one_shot(self, _name: str, *, limit: int) -> EmbeddedBroker:  # noqa: ARG002 - it takes all
        """Return the broker."""
        return self.embedded

    def source(self, _name: str, worker: Worker, _ledger: SqlLedger) -> EmbeddedBroker:
        """Return the broker, which delivers to the worker from now on."""
        self.embedded.consume(worker.receive)
        return self.embedded

    def started(self, ingest: IngestProcess, health: int) -> None:
        """Subscribe the ingest, print all addresses, and send the sample command."""
        settings, clock = self.context.settings, self.context.clock
        webhook = f"http://{_reached(settings.ingest.host)}:{ingest.webhook.port}{settings.ingest.path}"
        secrets = settings.ingest.authorization
        client = command_client.client(
            command_client.account(settings), settings, clock, self.context.stopping.event
        )
        channel = client.channels.create(
            webhook_url=webhook, authorization=secrets[0].get_secret_value() if secrets else None
        )
        client.subscriptions.create(notify=channel.callback)
        client.close()
        submit = (
            ""
            if ingest.submit is None
            else f"  submit    http://{_reached(settings.submit.host)}:{ingest.submit.server.port}{SUBMIT_PATH}\n"
        )
        self.console.print(
            "[bold]SMS Bridge, to try out[/]: nothing is configured, so the broker and the provider are simulated "
            "inside this process.\n[bold red]Nothing survives it, and no SMS leaves this machine.[/] "
            "To run the real thing, set broker.url and cpaas.* (config/bridge.toml).\n"
            f"  provider  {self._provider}/  (make an inbound SMS happen there)\n"
            f"  webhook   {webhook}\n"
            f"{submit}"
            f"  health    http://{_reached(settings.admin.host)}:{health}/readyz\n"
            "Ctrl-C stops it.",
            highlight=False,
        )
        self._send_sample()

    def _send_sample(self) -> None:
        command = {
            "id": self._sample,
            "destination_address": SAMPLE_NUMBER,
            "message": "Hello from SMS Bridge",
        }
        message = Outgoing(
            exchange=self.context.settings.broker.commands_exchange,
            routing_key=SEND,
            body=json.dumps(command).encode(),
            properties={"message_id": self._sample},
        )
        self.embedded.publish(message, lambda: None)

    def _on_event(self, body: bytes) -> None:
        event = show_event(self.console, body)
        if event["type"] == "sms.outbound.sent" and event.get("subject") == self._sample:
            # Not on the broker's thread: the answer comes back as an event through it.
            threading.Thread(target=self._answer, args=(event["data"],), daemon=True).start()

    def _answer(self, sent: dict[str, str]) -> None:
        """Make the simulated provider receive an answer to the sample."""
        answer = {"from": sent["destination_address"], "to": sent["sender_address"], "message": "Hello back"}
        request = Request(  # noqa: S310 - our own simulator on the loopback
            f"{self._provider}/_simulator/inbound",
            data=json.dumps(answer).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            # A proxy of the environment does not lead to this process.
            build_opener(ProxyHandler({})).open(request, timeout=5).close()
        except OSError as e:
            structlog.get_logger().warning("sample.unanswered", reason=str(e))


def _demo_settings(settings: Settings, provider: str, ledger: str) -> Settings:
    """Return the settings of the demo: its own provider and ledger, and any port if the usual one is taken."""
    return _changed(
        settings,
        cpaas={"base_url": provider, "client_id": "demo", "client_secret": SecretStr(uuid.uuid4().hex)},
        ledger={"url": SecretUrl(ledger)},
        ingest={"spool": None, **_free_port(settings.ingest, settings.ingest.port)},
        admin=_free_port(settings.admin, settings.admin.worker_port),
    )


def _changed(settings: Settings, **changes: dict[str, object]) -> Settings:
    sections = {name: getattr(settings, name).model_copy(update=update) for name, update in changes.items()}
    return settings.model_copy(update=sections)


def _free_port(section: IngestSettings | AdminSettings, port: int) -> dict[str, object]:
    """Return port 0 if the usual port is taken. A configured port is kept; it is an error if it is taken."""
    if "port" in section.model_fields_set:
        return {}
    try:
        socket.create_server((section.host, port)).close()
    except OSError:
        return {"port": 0}
    return {}


def _start(simulator: Simulator) -> None:
    """Start on the usual port if it is free, otherwise on any port."""
    try:
        simulator.start(port=SIMULATOR_PORT)
    except OSError:
        simulator.start()


def _reached(host: str) -> str:
    """Return the host part of a URL by which this machine reaches a server that listens on `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not to listen, to call
    return f"[{host}]" if ":" in host else host
