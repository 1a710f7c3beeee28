"""TLS certificates, checked before they are used, and TLS handshakes."""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto
from typing import TYPE_CHECKING, Any, Literal

from bridge.adapters.http.server.peers import peer_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bridge.adapters.http.server.connection import HttpConnection
    from bridge.adapters.http.server.registry import ConnectionRegistry

#: Bytes of asyncio's read buffer, which each connection has from its start. Its default of 256 KiB would be most of the
#: memory of a thousand idle connections; a record has 16 KiB (RFC 8446 section 5.1).
_BUFFER = 32 * 1024


class CertificateUnusable(Exception):
    """The files can't be used; the message names the file and the reason."""

    def __init__(self, part: Literal["certificate", "key"], message: str) -> None:
        super().__init__(message)
        self.part = part


#: Ciphers for TLS 1.2. All those of TLS 1.3 are allowed.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
#: The only group for key exchange: P-256, which all clients of TLS 1.3 must support (RFC 8446 section 9.1). OpenSSL's
#: default list has finite-field groups, and one key exchange in ffdhe8192 blocks the event loop for a hundred
#: milliseconds (CVE-2002-20001). Python before 3.15 can set one group or none. A client that offers another group
#: first, as most do with X25519, needs one more round trip.
_GROUP = "prime256v1"


def server_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """Return the server's TLS context. Without `key`, the certificate's file contains it; both are PEM.

    Raises:
        CertificateUnusable: the files can't be used. A key with a passphrase can't be read: no operator can enter it.

    """
    _open("certificate", certificate)
    if key is not None:
        _open("key", key)
    # The only way to set it; nothing else in a listening process uses asyncio's TLS.
    sslproto.SSLProtocol.max_size = _BUFFER
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_ecdh_curve(_GROUP)
    # Otherwise a client could renegotiate again and again, and each time the server signs (CVE-2011-1473).
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as e:
        where = f"{certificate}" if key is None else f"{certificate} with {key}"
        reason = (e.reason or "PEM expected").replace("_", " ").lower()
        raise CertificateUnusable(
            "certificate", f"{where} is no certificate with its key, unencrypted ({reason})"
        ) from e
    return context


class TlsHandshake(asyncio.Protocol):
    """A connection during its handshake, counted like any other: asyncio does not report it before its end."""

    def __init__(
        self, context: ssl.SSLContext, registry: ConnectionRegistry, serve: Callable[[], HttpConnection]
    ) -> None:
        """`serve` creates the protocol for the encrypted connection."""
        self._context = context
        self._registry = registry
        self._serve = serve
        self._transport: Any = None
        self._handshake: asyncio.Task[None] | None = None
        #: Data that arrived together with the end of the handshake.
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the handshake, unless there are far too many connections."""
        self._transport = transport
        if self._registry.add(self, peer_of(transport)):
            self._handshake = asyncio.get_running_loop().create_task(self._shake_hands())
        else:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Keep the data until the connection exists, one iteration of the loop later."""
        self._early.append(data)

    def connection_lost(self, _: Exception | None) -> None:
        """Remove the connection."""
        self._registry.remove(self)

    def finish(self) -> None:
        """End: there is no request yet."""
        self.abort()

    give_up = on_deadline = finish

    def abort(self) -> None:
        """End immediately."""
        self._transport.abort()

    async def _shake_hands(self) -> None:
        try:
            # asyncio's default deadline for a handshake is a minute.
            transport: Any = await asyncio.get_running_loop().start_tls(
                self._transport, self, self._context, server_side=True,
                ssl_handshake_timeout=self._registry.head_timeout, ssl_shutdown_timeout=self._registry.head_timeout,
            )  # fmt: skip
        except (OSError, RuntimeError):
            # Refused, aborted or too late: asyncio has closed it.
            return
        finally:
            self._registry.remove(self)
        if transport is None or transport.is_closing():
            return
        connection = self._serve()
        transport.set_protocol(connection)
        connection.connection_made(transport)
        for data in self._early:
            connection.data_received(data)


def _open(part: Literal["certificate", "key"], path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as e:
        raise CertificateUnusable(part, f"{path} can't be read: {e.strerror}") from e
