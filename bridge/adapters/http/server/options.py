"""The options of a server: its address, its certificate, and the limits for clients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.adapters.http.server.peers import Peers

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """The address, the certificate and the limits of a server."""

    host: str
    #: 0 chooses a free port.
    port: int
    #: PEM files; without a certificate, plain HTTP. The certificate's file may contain the key.
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    #: Simultaneous connections. Beyond it, an idle connection is evicted.
    max_connections: int = 1000
    #: The addresses that may connect.
    peers: Peers = field(default_factory=Peers)
    #: Minimum seconds that a connection stays open between requests; announced in each response.
    keep_alive: float = 75.0
    #: Seconds for a request's line and headers, and for the TLS handshake before it.
    head_timeout: float = 5.0
    #: Seconds for a client to read responses, once the write buffer is full.
    write_timeout: float = 5.0
