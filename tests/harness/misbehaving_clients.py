"""Who else comes to the webhook: slow clients, impatient ones and rude ones."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Protocol, TypeVar

from tests.harness.raw_http import Client
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SECRET = "Bearer hunter2-tangerine"
SLOW_CLIENTS = 200


def request(*headers: str, body: bytes = b"", authorization: str | None = SECRET) -> bytes:
    """Return a request as it goes over the wire, with a length where `headers` say nothing of the body."""
    lines = ["POST /inbound-sms/webhook HTTP/1.1", "Host: bridge", *headers]
    if authorization is not None:
        lines.append(f"Authorization: {authorization}")
    if not any(each.startswith(("Content-Length", "Transfer-Encoding")) for each in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


#: What each of four kinds of slow clients sends at first, and then a little at a time, for ever.
_SLOW: list[tuple[bytes, bytes]] = [
    (b"", b""),
    (b"POST /inbound-sms/webhook HTTP/1.1\r\nX-Slow: ", b"x"),
    (request("Content-Length: 60000"), b" "),
    (request("Transfer-Encoding: chunked"), b"1\r\n \r\n"),
]

_CHUNK = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
#: What no decent client sends, and the status that it is answered with.
RUDE: list[tuple[str, bytes, int]] = [
    ("a huge header", request("X-Huge: " + "x" * 1_000_000), 431),
    ("many headers", request(*["X-Many: x"] * 5000), 431),
    ("a huge target", b"POST /" + b"x" * 1_000_000, 431),
    ("chunks over the limit", request("Transfer-Encoding: chunked") + _CHUNK * 17, 413),
    ("a length over the limit", request("Content-Length: 100000000000"), 413),
    ("length and chunks", request("Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    ("chunks and length", request("Transfer-Encoding: chunked", "Content-Length: 5") + b"0\r\n\r\n", 400),
    ("two lengths", request("Content-Length: 2", "Content-Length: 3") + b"{} ", 400),
    ("a chunk of no size", request("Transfer-Encoding: chunked") + b"zz\r\n{}\r\n", 400),
    ("a handshake of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
]


class _Slow:
    """One slow client; where it is closed on it comes again."""

    def __init__(self, port: int, begun: bytes, more: bytes) -> None:
        self._port, self._begun, self._more = port, begun, more
        self._client: Client | None = None

    @property
    def there(self) -> bool:
        return self._client is not None

    def drip(self) -> None:
        try:
            if self._client is None:
                self._client = Client(self._port)
                self._client.send(self._begun)
            else:
                self._client.send(self._more)
        except OSError:
            self.close()

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.__exit__()


@contextlib.contextmanager
def slow_clients(port: int) -> Iterator[None]:
    """Keep slow clients on `port`, of all kinds."""
    clients = [_Slow(port, *_SLOW[number % len(_SLOW)]) for number in range(SLOW_CLIENTS)]
    with _kept_at_it(clients, _Slow.drip, every=0.05):
        wait_until(lambda: all(client.there for client in clients), 20, what="slow clients")
        yield


class _Impatient:
    """A client that asks again and again without waiting for what it is answered; half of them read that at all."""

    def __init__(self, port: int, asked: bytes, *, reads: bool) -> None:
        self._port, self._asked, self._reads = port, memoryview(asked * 2000), reads
        self._one = len(asked)
        self._sent = 0
        self._socket: socket.socket | None = None

    def press(self) -> None:
        """Send all that the other side takes, or come again where it has closed."""
        try:
            if self._socket is None:
                self._socket, self._sent = socket.create_connection(("127.0.0.1", self._port)), 0
                self._socket.setblocking(False)
            if self._reads:
                with contextlib.suppress(BlockingIOError):
                    self._socket.recv(1_000_000)
            while True:
                self._sent += self._socket.send(self._asked[self._sent % self._one :])
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@contextlib.contextmanager
def impatient_clients(port: int, *asked: bytes) -> Iterator[None]:
    """Keep clients on `port` that send each of `asked` without an end, with and without reading answers."""
    clients = [_Impatient(port, each, reads=reads) for each in asked for reads in (True, False)]
    with _kept_at_it(clients, _Impatient.press, every=0.005):
        yield


class _Client(Protocol):
    """Whoever has a connection to let go of."""

    def close(self) -> None: ...


Stranger = TypeVar("Stranger", bound=_Client)


@contextlib.contextmanager
def _kept_at_it(
    clients: Sequence[Stranger], work: Callable[[Stranger], None], *, every: float
) -> Iterator[None]:
    """Have all clients do their work again and again, `every` so many seconds; close them in the end."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(every):
            for client in clients:
                work(client)

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for client in clients:
            client.close()
