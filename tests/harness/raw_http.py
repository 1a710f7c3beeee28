"""HTTP byte by byte, to send what no client library would. Times are in seconds."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl

#: Nothing that is asked for takes longer unless it is broken.
TIMEOUT = 5.0


class Client:
    """A connection to a loopback port, from the address `source`.

    With `tls` it is encrypted, and with `deaf` hardly anything fits on the way.
    """

    def __init__(
        self,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT,
        deaf: bool = False,
        address: str = "127.0.0.1",
        source: str | None = None,
    ) -> None:
        plain = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        if source is not None:
            plain.bind((source, 0))
        if deaf:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        plain.settimeout(timeout)
        plain.connect((address, port))
        self.socket = plain if tls is None else tls.wrap_socket(plain, server_hostname="127.0.0.1")
        self.stream = self.socket.makefile("rb")
        #: Of the answer that was read last; names in small letters.
        self.headers: dict[str, str] = {}
        self.body = b""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.stream.close()
        self.socket.close()

    def send(self, data: bytes) -> Self:
        """Send `data` as it is."""
        self.socket.sendall(data)
        return self

    def status(self, *, head: bool = False) -> int:
        """Read one answer with its body and return its status; 0 where the server closed instead."""
        line = self.stream.readline()
        if not line:
            return 0
        self.headers = {}
        while (header := self.stream.readline()) not in {b"\r\n", b""}:
            name, _, value = header.decode("latin-1").partition(":")
            self.headers[name.lower()] = value.strip()
        self.body = self.stream.read(0 if head else int(self.headers.get("content-length", 0)))
        return int(line.split()[1])

    def closed(self) -> bool:
        """Whether the server closes, before the patience is at its end."""
        try:
            return self.stream.read(1) == b""
        except ConnectionResetError:
            return True


def once(port: int, data: bytes, *, tls: ssl.SSLContext | None = None) -> int:
    """Send `data` on a connection of its own and return the answer's status."""
    with Client(port, tls=tls) as client:
        return client.send(data).status()
