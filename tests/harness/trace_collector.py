"""A collector of OpenTelemetry's: takes what OTLP over HTTP brings, and can be asked for it."""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Span:
    """A span as it came."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    #: Empty for one that begins a trace.
    parent_id: str
    attributes: dict[str, Any]
    is_error: bool

    @property
    def context(self) -> str:
        """How a traceparent of what belongs to it begins: the flags follow."""
        return f"00-{self.trace_id}-{self.span_id}-"


class Collector:
    """Listens on the loopback."""

    def __init__(self) -> None:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.raw: list[bytes] = []
        self.spans: list[Span] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def url(self) -> str:
        """Where it takes traces."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1/traces"

    def take(self, body: bytes) -> None:
        """Keep what a request brought."""
        self.raw.append(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += [_span(span) for span in scope.spans]

    def wait(self, wanted: Callable[[Span], bool], number: int = 1, within: float = 20) -> list[Span]:
        """Wait for so many spans that are `wanted`; they come some seconds after they ended."""

        def found() -> list[Span] | None:
            matching = [span for span in tuple(self.spans) if wanted(span)]
            return matching if len(matching) >= number else None

        return wait_until(found, within, what=f"{number} spans") or []


def _span(span: Any) -> Span:
    values = {
        one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value")
        for one in span.attributes
    }
    return Span(
        name=span.name,
        kind=span.kind,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes=values,
        is_error=span.status.code == 2,
    )
