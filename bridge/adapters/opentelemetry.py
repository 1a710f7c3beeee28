"""Exports spans to an OpenTelemetry collector, by OTLP over HTTP (docs/internals/tracing.md).

Imported only if a collector is configured. The SDK exports in a thread; spans are dropped if it falls behind
or the collector is unavailable, and no caller waits.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import TYPE_CHECKING

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span as OtelSpan

    from bridge.ports import Kind, Value

#: Seconds that sending some spans may take, retries included.
EXPORT_TIMEOUT = 5.0
#: Seconds between two log lines that say that spans are lost.
LOG_EVERY = 60.0

_PROPAGATOR = TraceContextTextMapPropagator()
_NOTHING = Context()
_KINDS: dict[Kind, SpanKind] = {
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "server": SpanKind.SERVER,
}


class OtlpSpan:
    """Fills the port `Span`."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: OtelSpan) -> None:
        context = span.get_span_context()
        self._span = span
        #: W3C Trace Context section 3.2.
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def end(self, attributes: Mapping[str, Value], *, error: str | None = None) -> None:
        """See `bridge.ports.Span`."""
        for name, value in attributes.items():
            self._span.set_attribute(name, value)
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class OtlpTracer:
    """Fills the port `Tracer`."""

    def __init__(self, endpoint: str, *, ratio: float, version: str, monotonic: Callable[[], float]) -> None:
        """`endpoint` is the whole URL that takes traces; of traces that begin here, `ratio` are sampled."""
        # It would write several lines for each batch; `_Exporter` says the same once a minute.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # noqa: TID251 - not ours to log to
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            resource=Resource.create(
                {
                    "service.name": "sms-bridge",
                    "service.version": version,
                    "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
                }
            ),
            shutdown_on_exit=False,
        )
        exporter = _Exporter(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT), monotonic)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("sms-bridge", version)

    def begin(
        self, kind: Kind, name: str, *, parent: str | None, attributes: Mapping[str, Value]
    ) -> OtlpSpan:
        """See `bridge.ports.Tracer`."""
        context = _NOTHING if parent is None else _PROPAGATOR.extract({"traceparent": parent}, _NOTHING)
        return OtlpSpan(
            self._tracer.start_span(name, context=context, kind=_KINDS[kind], attributes=attributes)
        )

    def stop(self, timeout: float = 2.0) -> None:
        """Send what is left, within `timeout` seconds."""
        ending = threading.Thread(target=self._provider.shutdown, name="tracing-ends", daemon=True)
        ending.start()
        ending.join(timeout)


class _Exporter(SpanExporter):
    """Says when spans are lost, but not each time."""

    def __init__(self, exporter: SpanExporter, monotonic: Callable[[], float]) -> None:
        self._exporter = exporter
        self._monotonic = monotonic
        self._logged_at = -LOG_EVERY
        self._log = structlog.get_logger()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS and self._monotonic() - self._logged_at >= LOG_EVERY:
            self._logged_at = self._monotonic()
            self._log.warning(
                "tracing.failed", spans=len(spans), hint="the collector at tracing.endpoint takes none"
            )
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)
