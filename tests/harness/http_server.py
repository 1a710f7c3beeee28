"""The HTTP server of the bridge, on any free port of the loopback."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bridge.adapters.http.ingest_app import EndpointSettings, Webhook
from bridge.adapters.http.server.options import ServerOptions
from bridge.adapters.http.server.server import HttpServer
from bridge.ports.http_results import NotificationResult

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.adapters.http.server.application import Application
    from bridge.ports.http_results import NotificationAnswered


def make_server(application: Application, *, host: str = "127.0.0.1", **options: Any) -> HttpServer:
    """Return a server that is not started yet."""
    return HttpServer(application, ServerOptions(host=host, port=0, **options), name="test")


@contextmanager
def serving(application: Application, **options: Any) -> Iterator[HttpServer]:
    """Serve `application`."""
    server = make_server(application, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop(1)


def make_hook(**endpoint: Any) -> Webhook:
    """Return a webhook at /hook that takes every notification at once."""
    return Webhook(EndpointSettings(path="/hook", **endpoint), _take)


def _take(_: bytes, answered: NotificationAnswered) -> None:
    answered(NotificationResult.PUBLISHED)
