"""A bridge to try out, whole and in memory: what `bridge up` runs where nothing is configured."""

from __future__ import annotations

import json
import threading
import uuid
from typing import TYPE_CHECKING, Literal
from urllib.request import ProxyHandler, Request, build_opener

import structlog

from bridge.adapters.amqp.embedded import EmbeddedBroker
from bridge.adapters.cpaas.account import CpaasAccount
from bridge.adapters.cpaas.gateway import CpaasGateway
from bridge.adapters.store.memory import MemoryLedger, MemoryReceipts, MemorySeen
from bridge.app import parts, sending
from bridge.app.admin import report_started, serve_admin
from bridge.app.listener import CannotListen, listen
from bridge.app.receipts import receipt_poller
from bridge.app.submit import make_submit_server, open_submit_server
from bridge.app.webhook import Observers, make_ingest, make_webhook_server
from bridge.app.worker_parts import make_worker, measure, worker_readiness
from bridge.domain.contracts.commands import SEND, SUBMIT_PATH
from bridge.domain.messages import Outgoing
from bridge.ingest.command_lookup import Lookups
from bridge.ingest.memory import NotificationMemory
from bridge.ingest.report import NotificationReport
from bridge.ingest.safekeeping import Publishing, Safekeeping
from bridge.ops.console import Screen, show_event
from bridge.ports.serving import Readiness
from bridge.simulator import Simulator
from bridge.worker.steady import SteadyClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.http.server.server import HttpServer
    from bridge.jobs.receipts import ReceiptPoller
    from bridge.ops.metrics import Metrics
    from bridge.ops.shutdown import Stopping
    from bridge.ports import Clock
    from bridge.settings import Settings
    from bridge.worker.worker import Worker

#: Who the sample command goes to, and who answers.
SAMPLE_NUMBER = "+16131234567"
SIMULATOR_PORT = 8090


class Trial:
    """A whole bridge in memory: broker, provider, worker, ingest. Nothing of it survives the process."""

    def __init__(self, settings: Settings, stopping: Stopping, metrics: Metrics, clock: Clock) -> None:
        self._settings = settings
        self._console = Screen(stopping.event.set)
        self._simulator = Simulator()
        self._broker = EmbeddedBroker(
            parts.topology(settings), clock, watch=self._on_event, on_crash=stopping.crash
        )
        self._calls_stop = threading.Event()
        self._stopping = stopping
        self._metrics = metrics
        self._clock = clock
        self._ledger = MemoryLedger()
        self._noted = MemorySeen(self._ledger)
        self._memory = NotificationMemory(lambda: self._noted, clock=clock, on_crash=stopping.crash)
        self._receipts: ReceiptPoller | None = None
        self._sample = f"sample-{uuid.uuid4()}"
        self._worker: Worker | None = None
        self._webhook: HttpServer | None = None
        self._lookups = Lookups(lambda: self._ledger, clock=clock)
        self._submit_server = (
            None
            if settings.submit.port is None
            else make_submit_server(settings, self._broker, self._lookups, metrics, clock)
        )
        self._admin: HttpServer | None = None

    def start(self) -> None:
        """Start all parts, subscribe the ingest, and send the sample command."""
        settings = self._settings
        _start_on(self._simulator, SIMULATOR_PORT)
        self._memory.start()
        # The ports first: where one can't be had, nothing else has begun.
        self._webhook = _on_usual_port(settings, "ingest", self._open_webhook)
        self._admin = _on_usual_port(settings, "admin", self._open_admin)
        if self._submit_server is not None:
            open_submit_server(settings, self._submit_server)
            self._lookups.start()
        account = CpaasAccount(
            base_url=self._simulator.url, client_id="trial", client_secret=uuid.uuid4().hex
        )
        steady = SteadyClock(self._clock)
        client = sending.client(account, settings, steady, self._calls_stop)
        self._worker = make_worker(
            settings,
            self._broker,
            self._ledger,
            CpaasGateway(client, steady, settings.reconcile.history_cap),
            steady,
            self._calls_stop,
            self._metrics,
            self._stopping,
        )
        measure(self._metrics, self._worker, self._broker, self._broker, client, steady)
        self._broker.consume(self._worker.receive)
        self._worker.start(self._broker)
        self._broker.start()
        self._receipts = receipt_poller(
            settings,
            lambda: MemoryReceipts(self._ledger, self._noted),
            client,
            self._broker,
            self._worker,
            steady,
            self._metrics,
            self._calls_stop,
        )
        if self._receipts is not None:
            self._receipts.start()
        ingest = settings.ingest
        webhook = f"http://{_reached(ingest.host)}:{self._webhook.port}{ingest.path}"
        authorization = ingest.authorization[0].get_secret_value() if ingest.authorization else None
        channel = client.channels.create(webhook_url=webhook, authorization=authorization)
        client.subscriptions.create(notify=channel.callback)
        report_started(self._readiness)
        self._introduce(webhook, self._admin.port)
        self._send_sample()

    def stop(self) -> None:
        """Stop all parts, those first that bring work."""
        if self._webhook is not None:
            self._webhook.stop(1.0)
        if self._submit_server is not None:
            self._submit_server.stop(1.0)
        self._memory.stop()
        if self._worker is not None:
            self._broker.pause()
            self._worker.stop(self._settings.worker.grace_period)
        if self._receipts is not None:
            self._receipts.stop()
        self._broker.stop()
        if self._submit_server is not None:
            self._lookups.stop()
        self._simulator.stop()
        if self._admin is not None:
            self._admin.stop(1.0)
        self._console.print("\nStopped. Nothing was kept.")

    def _introduce(self, webhook: str, health: int) -> None:
        self._console.print(
            "[bold]SMS Bridge, to try out[/]: nothing is configured, so the broker and the provider are simulated "
            "inside this process.\n[bold red]Nothing survives it, and no SMS leaves this machine.[/] "
            "To run the real thing, set broker.url and cpaas.* (config/bridge.toml).\n"
            f"  provider  {self._simulator.url}/  (make an inbound SMS happen there)\n"
            f"  webhook   {webhook}\n"
            f"{self._submit_line()}"
            f"  health    http://{_reached(self._settings.admin.host)}:{health}/readyz\n"
            "Ctrl-C stops it.",
            highlight=False,
        )

    def _submit_line(self) -> str:
        if self._submit_server is None:
            return ""
        return f"  submit    http://{_reached(self._settings.submit.host)}:{self._submit_server.port}{SUBMIT_PATH}\n"

    def _send_sample(self) -> None:
        command = {
            "id": self._sample,
            "destination_address": SAMPLE_NUMBER,
            "message": "Hello from SMS Bridge",
        }
        message = Outgoing(
            exchange=self._settings.broker.commands_exchange,
            routing_key=SEND,
            body=json.dumps(command).encode(),
            properties={"message_id": self._sample},
        )
        self._broker.publish(message, _nothing)

    def _on_event(self, body: bytes) -> None:
        event = show_event(self._console, body)
        if event["type"] == "sms.outbound.sent" and event.get("subject") == self._sample:
            # Not on the broker's thread: the answer comes back as an event through it.
            threading.Thread(target=self._answer, args=(event["data"],), daemon=True).start()

    def _answer(self, sent: dict[str, str]) -> None:
        """Have the simulated provider receive an answer to the sample."""
        answer = {"from": sent["destination_address"], "to": sent["sender_address"], "message": "Hello back"}
        request = Request(  # noqa: S310 - our own simulator on the loopback
            f"{self._simulator.url}/_simulator/inbound",
            data=json.dumps(answer).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            # The environment's proxy, if any, is not the way to this very process.
            build_opener(ProxyHandler({})).open(request, timeout=5).close()
        except OSError as e:
            structlog.get_logger().warning("sample.unanswered", reason=str(e))

    def _open_webhook(self, settings: Settings) -> HttpServer:
        publishing = Publishing(publisher=self._broker, tell=parts.teller(settings), clock=self._clock)
        report = NotificationReport(self._metrics, self._clock)
        executor = make_ingest(
            settings, self._memory, Safekeeping(publishing), report, self._clock, Observers()
        )
        server = make_webhook_server(settings, executor, report)
        listen(server, settings.ingest, "ingest")
        return server

    def _open_admin(self, settings: Settings) -> HttpServer:
        return serve_admin(settings, self._readiness, self._metrics)

    def _readiness(self) -> Readiness:
        if self._worker is None:
            return Readiness(ready=False)
        return worker_readiness(
            self._worker, self._broker, self._broker, draining=self._stopping.event.is_set()
        )


def _start_on(simulator: Simulator, port: int) -> None:
    """Take the usual port where it is free, else any."""
    try:
        simulator.start(port=port)
    except OSError:
        simulator.start()


def _on_usual_port(
    settings: Settings, section: Literal["ingest", "admin"], start: Callable[[Settings], HttpServer]
) -> HttpServer:
    """Start on the usual port where it is free, else on any. A port that somebody chose is had, or it is an error."""
    try:
        return start(settings)
    except CannotListen:
        where = getattr(settings, section)
        if "port" in where.model_fields_set:
            raise
        return start(settings.model_copy(update={section: where.model_copy(update={"port": 0})}))


def _reached(host: str) -> str:
    """Return where this very machine reaches what listens on `host`, as a URL has it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not to listen, to call
    return f"[{host}]" if ":" in host else host


def _nothing() -> None:
    """Wait for no confirm: the broker is in this process."""
