"""Opens one connection to one address of the broker: TCP, TLS, login, virtual host.

kombu and py-amqp are given each argument by itself. Their own readers of URLs take `;` for a separator and unknown
parameters for arguments, and their errors show what they read (docs/internals/decisions.md).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from amqp import sasl
from amqp.exceptions import AccessRefused, NotAllowed
from amqp.exceptions import ConnectionError as AmqpConnectionError
from amqp.transport import SSLTransport, TCPTransport
from kombu.transport.pyamqp import Connection as PyamqpConnection

from bridge.adapters.amqp.tls import TlsFileUnusable, client_context, explained
from bridge.domain.errors import BridgeError

if TYPE_CHECKING:
    from bridge.domain.broker_url import BrokerNode, Tls

#: py-amqp has the kernel end a connection after one second without progress: a lost packet or two, or an alarm during
#: which the broker does not read. Heartbeats and deadlines judge that here, so the kernel's own patience will do.
_PATIENT = {socket.TCP_USER_TIMEOUT: 0} if hasattr(socket, "TCP_USER_TIMEOUT") else {}
#: RabbitMQ refuses a virtual host that is there, by the same code as one that is not, while it is full or starting.
_FOR_NOW = ("connection limit", "is down")
#: How py-amqp begins where the broker offers none of our SASL mechanisms.
_NO_MECHANISM = "appropriate auth mechanism"


class BrokerUnreachable(BridgeError):
    """No connection to the broker: the message says where to and why, without the password."""


class BrokerRefused(BrokerUnreachable):
    """The broker refuses the login or the virtual host, or one side does not accept the other's certificate.

    Waiting does not help by itself: the configuration, the broker's users or a certificate have to change.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """All addresses of the broker, in the order in which they are tried, and how long to wait. Times in seconds."""

    nodes: tuple[BrokerNode, ...]
    #: For those whose URL says nothing else; so is `heartbeat`.
    connect_timeout: float = 5.0
    heartbeat: float = 30.0
    #: How long a write, or the rest of a frame, may take.
    io_timeout: float = 10.0


def open_connection(address: BrokerAddress, node: BrokerNode, name: str) -> Any:
    """Return an open py-amqp connection to one of the address's nodes; `name` is shown by the broker's own tools.

    Raises:
        BrokerUnreachable: after at most about twice the connect timeout, three times with TLS.
        BrokerRefused: a setting, a user of the broker or a certificate has to change first.

    """
    location = f"broker {node.location} vhost {node.vhost}"
    connection = _Connection(
        host=node.location,
        virtual_host=node.vhost,
        authentication=_authentication(node),
        ssl=node.tls,
        connect_timeout=node.connect_timeout or address.connect_timeout,
        heartbeat=address.heartbeat if node.heartbeat is None else node.heartbeat,
        channel_max=node.channel_max,
        timeout=address.io_timeout,
        client_properties={"connection_name": name},
        socket_settings=_PATIENT,
    )
    try:
        connection.connect()
    except Exception as e:  # the server there may be no broker, and py-amqp trusts every byte
        discard(connection)
        error, reason = _understood(e)
        raise error(f"{location} {reason}") from e
    return connection


def discard(connection: Any) -> None:
    """Close a connection's socket without a word, and without waiting for one."""
    sock = connection.transport.sock if connection.connected else None
    if sock is not None:
        # TLS would wait for the other side's close_notify.
        with contextlib.suppress(OSError):
            sock.settimeout(0)
    connection.collect()


def _understood(error: Exception) -> tuple[type[BrokerUnreachable], str]:
    """Return what an error of connecting means, and the words for it."""
    if isinstance(error, AccessRefused | NotAllowed):
        is_for_now = any(words in error.reply_text for words in _FOR_NOW)
        return (BrokerUnreachable if is_for_now else BrokerRefused), f"refuses us: {error.reply_text}"
    if isinstance(error, AmqpConnectionError) and _NO_MECHANISM in str(error):
        return BrokerRefused, "offers no auth_mechanism of broker.url"
    if isinstance(error, ssl.SSLError):
        reason, is_final = explained(error)
        return (BrokerRefused if is_final else BrokerUnreachable), f"can't be reached with TLS: {reason}"
    if isinstance(error, TlsFileUnusable):
        return BrokerUnreachable, f"can't be reached with TLS: the file of {error.part} {error}"
    reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return BrokerUnreachable, f"can't be reached: {reason}"


class _Connection(PyamqpConnection):
    """A connection that encrypts as `Tls` says, keeps to its own limit of channels, and does not wait for ever."""

    def __init__(self, *, channel_max: int | None, timeout: float, **options: Any) -> None:
        """`timeout` is how many seconds an answer of the broker may take."""
        self._most_channels = channel_max
        self._timeout = timeout
        super().__init__(channel_max=channel_max, **options)

    def Transport(self, host: str, connect_timeout: float, ssl: Tls | None, *_: Any, **options: Any) -> Any:  # noqa: N802 - py-amqp's names
        if ssl is None:
            return TCPTransport(host, connect_timeout, **options)
        # A new context each time: renewed files count from the next connection on.
        options["ssl"] = {"context": client_context(ssl), "server_name": ssl.server_name}
        return _TlsTransport(host, connect_timeout, **options)

    def drain_events(self, timeout: float | None = None) -> None:
        """Read until something other than a heartbeat has come.

        py-amqp limits each read alone, and a broker that sends heartbeats ends none of them.

        Raises:
            TimeoutError: there were only heartbeats.

        """
        end = time.monotonic() + (self._timeout if timeout is None else timeout)
        while not self.blocking_read(timeout):
            if time.monotonic() >= end:
                raise TimeoutError("the broker sends heartbeats and no answer")

    def _on_tune(self, channel_max: int, *arguments: Any) -> None:
        # py-amqp takes the broker's limit, whichever is lower; AMQP 0-9-1 section 4.2.1 lets a client ask for less.
        wanted = self._most_channels
        super()._on_tune(channel_max if wanted is None else min(channel_max or wanted, wanted), *arguments)


class _TlsTransport(SSLTransport):  # type: ignore[misc]  # py-amqp has no types
    """py-amqp's transport with a context of ours: its own checks no name unless it is given one."""

    def _wrap_socket(self, sock: socket.socket, context: ssl.SSLContext, server_name: str) -> ssl.SSLSocket:
        return context.wrap_socket(sock, server_hostname=server_name, do_handshake_on_connect=False)

    def _write(self, s: bytes) -> None:
        """Write all; where the other side has closed, raise the alert that it sent before.

        With TLS 1.3 a server judges a client's certificate after the client's handshake (RFC 8446 section 4.4.2.4).
        """
        try:
            super()._write(s)
        except (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError):
            self.sock.read(1)
            raise


def _authentication(node: BrokerNode) -> tuple[sasl.SASL, ...]:
    made = {
        "PLAIN": lambda: sasl.PLAIN(node.user, node.password),
        "AMQPLAIN": lambda: sasl.AMQPLAIN(node.user, node.password),
        "EXTERNAL": sasl.EXTERNAL,
    }
    return tuple(made[mechanism]() for mechanism in node.mechanisms)
