"""A transport whose calls are spans of the trace that their command belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from bridge.adapters.cpaas.transport import Transport
    from bridge.adapters.cpaas.wire import Exchange
    from bridge.domain.answers import ProviderError
    from bridge.ports import Tracer

#: What is called for a command (wire reference 4.1). The URL itself names the account and a number.
SENDING = "/cpaas/smsmessaging/v1/{userId}/outbound/{senderAddress}/requests"


class Traced:
    """Takes the place of the transport; what belongs to no trace goes through as it is."""

    def __init__(self, transport: Transport, tracer: Tracer, base_url: str) -> None:
        self._transport = transport
        self._tracer = tracer
        url = urlsplit(base_url)
        self._attributes: dict[str, str | int] = {
            "server.address": url.hostname or "",
            "server.port": url.port or (443 if url.scheme == "https" else 80),
            "url.template": SENDING,
        }

    @property
    def trouble(self) -> ProviderError | None:
        """See `Transport.trouble`."""
        return self._transport.trouble

    def exchange(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None = None
    ) -> Exchange:
        """Send one request; see `Transport.exchange`."""
        parent = headers.get("traceparent")
        if parent is None:
            return self._transport.exchange(method, path, headers, body)
        span = self._tracer.begin(
            "client",
            f"{method} {SENDING}",
            parent=parent,
            attributes={"http.request.method": method, **self._attributes},
        )
        try:
            exchange = self._transport.exchange(
                method, path, {**headers, "traceparent": span.traceparent}, body
            )
        except Exception as error:
            span.end({}, error=type(error).__name__)
            raise
        failed = str(exchange.status) if exchange.status >= 400 else None
        span.end({"http.response.status_code": exchange.status}, error=failed)
        return exchange
