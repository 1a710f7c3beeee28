"""What of the bridge is a span: a command's processing, a webhook, a command over HTTP, and each event of them.

Names and attributes are OpenTelemetry's semantic conventions for messaging, RabbitMQ and HTTP. No span has a number, a
text or a URL in it.
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
    """A worker's spans. On the desk's thread."""

    def __init__(self, tracer: Tracer, *, commands: str, events_exchange: str) -> None:
        """`commands` is where commands come from: their exchange and routing key, with a colon between."""
        self._tracer = tracer
        self._commands = commands
        self._events_exchange = events_exchange

    def received(self, received: Received) -> Span:
        """Begin the span of a delivery, until it is settled: in the trace of whoever sent the command."""
        attributes = _messaging("process", self._commands)
        message_id = shown_id(received.parsed)
        if message_id is not None:
            attributes["messaging.message.id"] = str(message_id)
        return self._tracer.begin(
            "consumer", f"process {self._commands}", parent=received.traceparent, attributes=attributes
        )

    def confirmed(self, span: Span, message: Outgoing, confirmed: Callable[[], None]) -> Callable[[], None]:
        """Begin the span of an event that is published now; returns what ends it, and then calls `confirmed`."""
        if message.exchange != self._events_exchange:
            return confirmed
        publishing = _publishing(self._tracer, span, message.exchange, message.routing_key)
        return partial(_end_and_confirm, publishing, confirmed)


class WebhookTracing:
    """An ingest's spans. What strangers say of a trace is not believed: each webhook begins one."""

    def __init__(self, tracer: Tracer, *, path: str, events_exchange: str) -> None:
        self._tracer = tracer
        self._path = path
        self._events_exchange = events_exchange

    def arrived(self) -> Span:
        """Begin the span of a notification, until it is answered."""
        return _serving(self._tracer, self._path, parent=None)

    def published(
        self, span: Span, event_type: str, durable: Callable[[bool], None]
    ) -> Callable[[bool], None]:
        """Begin the span of its event; returns what ends it once it is known whether it is durable."""
        publishing = _publishing(self._tracer, span, self._events_exchange, event_type)
        return partial(_end_and_say, publishing, durable)


class SubmitTracing:
    """The spans of the command API. Its clients are services of our own: their trace context is believed."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def submitted_command(self, traceparent: str | None) -> Span:
        """Begin the span of a command that was let in, until it is answered."""
        return _serving(self._tracer, SUBMIT_PATH, parent=traceparent)


def answered(span: Span, status: int) -> None:
    """End the span of a notification, or of a command, that was answered so."""
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
    # Whatever becomes of the span: what is never told is never settled.
    try:
        span.end({})
    finally:
        confirmed()


def _end_and_say(span: Span, durable: Callable[[bool], None], is_durable: bool) -> None:  # noqa: FBT001 - called back
    try:
        span.end({}, error=None if is_durable else "not durable")
    finally:
        durable(is_durable)
