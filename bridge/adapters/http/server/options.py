"""The options of a server: its address, its certificate, and the limits of its clients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.adapters.http.server.peers import Peers

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Where and how to listen."""

    host: str
    #: 0 takes any free one.
    port: int
    #: PEM files; without a certificate, plain HTTP. A key may stand in the certificate's file.
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    #: Open at the same time. Beyond it one that has asked for nothing makes room.
    max_connections: int = 1000
    #: The addresses that may connect.
    peers: Peers = field(default_factory=Peers)
    #: Seconds that a connection stays open between requests at least; announced in each response.
    keep_alive: float = 75.0
    #: Seconds a client may take to send a request's line and headers, and for a TLS handshake before it.
    head_timeout: float = 5.0
    #: Seconds it may take to read what was written to it, once that is more than fits on the way.
    write_timeout: float = 5.0
