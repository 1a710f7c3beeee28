"""Spans of the bridge: a command's processing, a webhook, a command over HTTP, and each published event.

Names and attributes follow OpenTelemetry's semantic conventions for messaging, RabbitMQ and HTTP. No span contains a
phone number, a text or a URL.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bridge.domain.contracts.commands import SUBMIT_PATH
from bridge.domain.shown_ids import shown_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.deliveries import Received
    from bridge.domain.messages import Outgoing
    from bridge.ports import Span, Tracer, Value


class CommandTracing:
    """Spans of a worker. Used on the thread of the worker's loop."""

    def __init__(self, tracer: Tracer, *, commands: str, events_exchange: str) -> None:
        """`commands` is the source of commands: exchange and routing key, joined by a colon."""
        self._tracer = tracer
        self._commands = commands
        self._events_exchange = events_exchange

    def received(self, received: Received) -> Span:
        """Begin the span of a delivery, in the trace of the command's sender. It ends with the acknowledgement."""
        attributes = _messaging("process", self._commands)
        message_id = shown_id(received.parsed)
        if message_id is not None:
            attributes["messaging.message.id"] = str(message_id)
        return self._tracer.begin(
            "consumer", f"process {self._commands}", parent=received.traceparent, attributes=attributes
        )

    def confirmed(self, span: Span, message: Outgoing, confirmed: Callable[[], None]) -> Callable[[], None]:
        """Begin the span of an event that is published now; returns a function that ends it and calls `confirmed`."""
        if message.exchange != self._events_exchange:
            return confirmed
        publishing = _publishing(self._tracer, span, message.exchange, message.routing_key)
        return partial(_end_and_confirm, publishing, confirmed)


class WebhookTracing:
    """Spans of an ingest. Each webhook begins a new trace: trace context of unknown clients is not trusted."""

    def __init__(self, tracer: Tracer, *, path: str, events_exchange: str) -> None:
        self._tracer = tracer
        self._path = path
        self._events_exchange = events_exchange

    def arrived(self) -> Span:
        """Begin the span of a notification. It ends with the response."""
        return _serving(self._tracer, self._path, parent=None)

    def published(
        self, span: Span, event_type: str, durable: Callable[[bool], None]
    ) -> Callable[[bool], None]:
        """Begin the span of its event; returns a function that ends it and then calls `durable`."""
        publishing = _publishing(self._tracer, span, self._events_exchange, event_type)
        return partial(_end_and_say, publishing, durable)


class SubmitTracing:
    """Spans of the command API. Its clients are the operator's services: their trace context is trusted."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def submitted_command(self, traceparent: str | None) -> Span:
        """Begin the span of an admitted command. It ends with the response."""
        return _serving(self._tracer, SUBMIT_PATH, parent=traceparent)


def answered(span: Span, status: int) -> None:
    """End the span of a notification, or of a command, with the status code of the response."""
    span.end({"http.response.status_code": status}, error=str(status) if status >= 500 else None)


def _serving(tracer: Tracer, path: str, *, parent: str | None) -> Span:
    attributes: dict[str, Value] = {"http.request.method": "POST", "http.route": path}
    return tracer.begin("server", f"POST {path}", parent=parent, attributes=attributes)


def _publishing(tracer: Tracer, parent: Span, exchange: str, routing_key: str) -> Span:
    destination = f"{exchange}:{routing_key}"
    return tracer.begin(
        "producer",
        f"send {destination}",
        parent=parent.traceparent,
        attributes=_messaging("send", destination),
    )


def _messaging(operation: str, destination: str) -> dict[str, Value]:
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.type": operation,
        "messaging.operation.name": operation,
        "messaging.destination.name": destination,
    }


def _end_and_confirm(span: Span, confirmed: Callable[[], None]) -> None:
    # `confirmed` must be called even if the span fails: otherwise the delivery is never acknowledged.
    try:
        span.end({})
    finally:
        confirmed()


def _end_and_say(span: Span, durable: Callable[[bool], None], is_durable: bool) -> None:  # noqa: FBT001 - called back
    try:
        span.end({}, error=None if is_durable else "not durable")
    finally:
        durable(is_durable)
