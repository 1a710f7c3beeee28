"""Certificates, checked before clients are served with them, and handshakes."""

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

#: Bytes that asyncio has ready for each connection from its first moment, and reads at once. Its own 256 KiB are more
#: than all else that a thousand silent connections cost; a record has 16 (RFC 8446 section 5.1).
_BUFFER = 32 * 1024


class CertificateUnusable(Exception):
    """Clients can't be served with these files; the message names the one at fault and why."""

    def __init__(self, part: Literal["certificate", "key"], message: str) -> None:
        super().__init__(message)
        self.part = part


#: For TLS 1.2. Those of 1.3 are all good.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
#: The one group for the exchange of keys: P-256, which every client of TLS 1.3 has to support (RFC 8446 section 9.1).
#: OpenSSL's own list also has finite fields, and one key exchange in ffdhe8192 takes the event loop a hundred
#: milliseconds (CVE-2002-20001). Python before 3.15 sets one group or none. A client that begins with another group, as
#: most do with X25519, sends its key in one more round trip.
_GROUP = "prime256v1"


def server_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """Return what to serve with. Without `key`, it stands in the certificate's file; both are PEM.

    Raises:
        CertificateUnusable: they can't, or do not. A key with a passphrase can't be read: there is no operator to ask.

    """
    _open("certificate", certificate)
    if key is not None:
        _open("key", key)
    # There is no other way to say so, and nothing else in a process that listens has asyncio do TLS.
    sslproto.SSLProtocol.max_size = _BUFFER
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_ecdh_curve(_GROUP)
    # A client that asks for one handshake after another has the server sign each time (CVE-2011-1473).
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
    """A connection until its handshake is over, counted like any other: asyncio reports none before that."""

    def __init__(
        self, context: ssl.SSLContext, registry: ConnectionRegistry, serve: Callable[[], HttpConnection]
    ) -> None:
        """`serve` makes what the connection is handed to."""
        self._context = context
        self._registry = registry
        self._serve = serve
        self._transport: Any = None
        self._handshake: asyncio.Task[None] | None = None
        #: What came in the same moment as the handshake's end.
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, unless there are far too many connections already."""
        self._transport = transport
        if self._registry.add(self, peer_of(transport)):
            self._handshake = asyncio.get_running_loop().create_task(self._shake_hands())
        else:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Keep it; one turn of the loop later there is a connection to read it."""
        self._early.append(data)

    def connection_lost(self, _: Exception | None) -> None:
        """Forget it."""
        self._registry.remove(self)

    def finish(self) -> None:
        """End: nothing was asked yet."""
        self.abort()

    give_up = on_deadline = finish

    def abort(self) -> None:
        """End at once."""
        self._transport.abort()

    async def _shake_hands(self) -> None:
        try:
            # asyncio's own deadline for a handshake is a minute.
            transport: Any = await asyncio.get_running_loop().start_tls(
                self._transport, self, self._context, server_side=True,
                ssl_handshake_timeout=self._registry.head_timeout, ssl_shutdown_timeout=self._registry.head_timeout,
            )  # fmt: skip
        except (OSError, RuntimeError):
            # Refused, cut or too late: asyncio has closed it.
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
