"""The command API over HTTP: a part of an ingest's process, if it has a port."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import structlog

from bridge.adapters.http.server.options import ServerOptions
from bridge.adapters.http.server.server import HttpServer
from bridge.adapters.http.submit_app import Submit, SubmitEndpointSettings
from bridge.adapters.store import read_ledger
from bridge.app import parts
from bridge.app.admin import publishing
from bridge.app.listener import listen
from bridge.app.trace_export import submit_tracing
from bridge.domain.contracts.commands import SUBMIT_PATH
from bridge.ingest.command_intake import CommandIntake, IntakeRules
from bridge.ingest.command_lookup import Lookups

if TYPE_CHECKING:
    from bridge.app.broker import BrokerConnections
    from bridge.app.process import ProcessContext
    from bridge.ops.metrics import Metrics
    from bridge.ops.progress import ThreadProgress
    from bridge.ports import Clock, OneShotPublisher, Tracer
    from bridge.settings import Settings

#: Unconfirmed commands beyond those with a waiting request: the broker may be slower than the request's timeout.
SPARE = 100


class SubmitPart:
    """The command API's HTTP server, its ledger lookups, and its dedicated connection to the broker."""

    def __init__(self, context: ProcessContext, broker: BrokerConnections) -> None:
        self._settings, metrics = context.settings, context.metrics
        limit = self._settings.submit.max_in_flight + SPARE
        self._one_shot = broker.one_shot("ingest submits", limit=limit)
        metrics.connections.append(lambda: self._one_shot.connected)
        metrics.alarms.append(lambda: self._one_shot.blocked)
        self._lookups = Lookups(partial(read_ledger, context.ledger_url), clock=context.clock)
        self.server = make_submit_server(
            self._settings, self._one_shot, self._lookups, metrics, context.clock, context.tracer
        )

    def start(self, progress: ThreadProgress) -> None:
        """Listen, and connect to broker and ledger in the background.

        Raises:
            CannotListen: the port can't be opened.
            SettingsError: the certificate can't be used.

        """
        submit = self._settings.submit
        port = listen(self.server, submit, "submit")
        structlog.get_logger().info("submit.listening", host=submit.host, port=port, path=SUBMIT_PATH)
        self._one_shot.start()
        progress.watch("the event loop of the HTTP endpoint for commands", lambda: self.server.iterations)
        progress.watch("the connection thread of the command API", lambda: self._one_shot.iterations)
        self._lookups.start()

    def stop(self, grace: float) -> None:
        """Refuse new requests, answer those in flight within `grace` seconds, and close broker and ledger."""
        self.server.stop(grace)
        self._one_shot.stop()
        self._lookups.stop()

    def reason(self) -> tuple[str, bool, str]:
        """Return whether commands are accepted, with the reason."""
        _, ok, detail = publishing(self._one_shot)
        return "submitting", ok, detail


def make_submit_server(
    settings: Settings,
    one_shot: OneShotPublisher,
    lookups: Lookups,
    metrics: Metrics,
    clock: Clock,
    tracer: Tracer | None = None,
) -> HttpServer:
    """Return the HTTP server of the command API."""
    submit = settings.submit
    rules = IntakeRules(
        commands=parts.command_rules(settings),
        exchange=settings.broker.commands_exchange,
        confirm_timeout=submit.confirm_timeout,
    )
    flow = CommandIntake(one_shot, lookups, rules, clock, metrics, submit_tracing(tracer))
    endpoint = SubmitEndpointSettings(
        authorization=tuple(secret.get_secret_value().encode() for secret in submit.authorization),
        max_in_flight=submit.max_in_flight,
    )
    options = ServerOptions(
        host=submit.host,
        port=submit.port or 0,
        tls_certificate=submit.tls_certificate,
        tls_key=submit.tls_key,
        max_connections=submit.max_connections,
        keep_alive=submit.keep_alive,
    )
    return HttpServer(Submit(endpoint, flow.take, flow.show, refused=flow.refused), options, name="submit")
