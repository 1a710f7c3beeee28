"""A provider on loopback with scripted behaviour: answer, cut, drip, stay silent. Threads and raw sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TypeAlias

import jwt

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

USER = "11111111-2222-3333-4444-555555555555"
MESSAGE_ID = "SM5C24C4C400010208211000EC4E0EA1"
SENDER = "+16137001234"
TOKEN_PATH = "/cpaas/auth/v1/token"

_KEY = "no client verifies this signature, so the key need not be secret"


@dataclass(frozen=True, slots=True)
class Request:
    """A received request."""

    method: str
    path: str
    #: Names in lower case.
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def json(self) -> dict[str, object]:
        """The body, parsed as JSON."""
        document: dict[str, object] = json.loads(self.body)
        return document


@dataclass(slots=True)
class Peer:
    """The client's side of a connection, for an act."""

    sock: socket.socket
    request: Request
    #: Set when the server stops: it ends a silence.
    stopping: threading.Event

    def send(self, data: bytes) -> None:
        """Send `data`; a client that is gone is not an error."""
        with contextlib.suppress(OSError):
            self.sock.sendall(data)


#: Handles a request; returns true if the connection stays open.
Act: TypeAlias = "Callable[[Peer], bool]"


def answer(
    status: int = 200,
    body: object = b"",
    headers: Mapping[str, str] | None = None,
    *,
    keep: bool = True,
) -> Act:
    """Answer with `status` and `body`: bytes unchanged, other values as JSON."""
    return lambda peer: _sent(peer, reply(status, body, headers), keep=keep)


def reply(status: int, body: object, headers: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of a complete response."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + content


def raw(data: bytes, *, then: Act | None = None) -> Act:
    """Send `data` unchanged and close, or continue with `then`."""
    return lambda peer: _sent(peer, data, keep=False) or (then(peer) if then else False)


def close(_peer: Peer) -> bool:
    """Close without a response."""
    return False


def reset(peer: Peer) -> bool:
    """Reset the connection."""
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def silence(peer: Peer) -> bool:
    """Send nothing until the client disconnects or the server stops."""
    peer.sock.settimeout(0.02)
    while not peer.stopping.is_set():
        with contextlib.suppress(TimeoutError):
            try:
                if not peer.sock.recv(1024):
                    break
            except ConnectionError:
                break
    return False


def drip(data: bytes, *, every: float) -> Act:
    """Send one byte of `data` every `every` seconds."""

    def act(peer: Peer) -> bool:
        for byte in data:
            if peer.stopping.wait(every):
                break
            try:
                peer.sock.sendall(bytes([byte]))
            except OSError:
                break
        return False

    return act


def flood(head: bytes, piece: bytes, *, times: int) -> Act:
    """Send `head`, then `piece` as often as the client accepts it, at most `times`."""

    def act(peer: Peer) -> bool:
        with contextlib.suppress(OSError):
            peer.sock.sendall(head)
            for _ in range(times):
                peer.sock.sendall(piece)
        return False

    return act


def accepted(status: str = "DeliveredToNetwork", message_id: str = MESSAGE_ID) -> dict[str, object]:
    """Return the body of a successful send (wire reference 4.1)."""
    url = f"/cpaas/smsmessaging/v1/{USER}/remoteAddresses/{SENDER}/messages/{message_id}"
    return {
        "outboundSMSMessageRequest": {
            "address": ["+16139998877"],
            "clientCorrelator": "67893",
            "deliveryInfoList": {
                "deliveryInfo": [{"address": "+16139998877", "deliveryStatus": status}],
                "resourceURL": f"{url}/deliveryInfos",
            },
            "outboundSMSTextMessage": {"message": "Hi"},
            "resourceURL": url,
            "senderAddress": SENDER,
        }
    }


def fault(
    kind: str, code: str, text: str = "Something is wrong", variables: object = None
) -> dict[str, object]:
    """Return the provider's error envelope (wire reference 8.1)."""
    inside: dict[str, object] = {"messageId": code, "text": text}
    if variables is not None:
        inside["variables"] = variables
    return {"requestError": {kind: inside}}


class ProviderServer:
    """The provider. It issues tokens and accepts each send, unless `acts` and `token_acts` have entries."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.acts: deque[Act] = deque()
        self.token_acts: deque[Act] = deque()
        #: API requests with a valid token, in order.
        self.requests: list[Request] = []
        self.token_requests: list[Request] = []
        #: The number of API requests that were answered 401 because of their token.
        self.unauthorized = 0
        self.connections = 0
        #: The lifetime in seconds that the tokens contain.
        self.token_lifetime = 28_800
        self.user = USER
        #: Seconds that a token request takes, so that several threads wait for it.
        self.token_delay = 0.0
        self._live: set[str] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def base_url(self) -> str:
        """The URL of the server."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def sends(self) -> list[Request]:
        """The received sends."""
        return [request for request in self.requests if request.path.endswith("/requests")]

    def revoke(self) -> None:
        """Refuse all tokens issued so far."""
        with self._lock:
            self._live.clear()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            connections = list(self._open)
        for sock in connections:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(5)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(sock)
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        try:
            stream = self._tls.wrap_socket(sock, server_side=True) if self._tls else sock
        except OSError:
            self._forget(sock)
            return
        with stream, contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) if stream is sock else None
            while (request := _read(stream)) is not None:
                if not self._act(request)(Peer(stream, request, self._stopping)):
                    break
        self._forget(sock)

    def _forget(self, sock: socket.socket) -> None:
        sock.close()
        with self._lock:
            self._open.discard(sock)

    def _act(self, request: Request) -> Act:
        with self._lock:
            if request.path == TOKEN_PATH:
                self.token_requests.append(request)
                return self.token_acts.popleft() if self.token_acts else self._give_token
            if request.headers.get("authorization", "").removeprefix("Bearer ") not in self._live:
                self.unauthorized += 1
                return answer(401, fault("serviceException", "SVC2003", "Invalid access token"))
            self.requests.append(request)
            if self.acts:
                return self.acts.popleft()
        return answer(201, accepted()) if request.path.endswith("/requests") else answer(404, b"")

    def _give_token(self, peer: Peer) -> bool:
        self._stopping.wait(self.token_delay)
        return answer(200, self.new_token())(peer)

    def new_token(self) -> dict[str, object]:
        """Issue a token (wire reference 2.2)."""
        now = int(time.time())
        with self._lock:
            claims = {
                "iat": now,
                "exp": now + self.token_lifetime,
                "jti": f"{now}-{len(self.token_requests)}-{len(self._live)}",
            }
            access = jwt.encode(claims, _KEY)
            self._live.add(access)
        identity = jwt.encode({**claims, "preferred_username": self.user}, _KEY)
        return {
            "access_token": access,
            "id_token": identity,
            "refresh_token": "unused",
            "expires_in": self.token_lifetime,
            "token_type": "bearer",
        }


def _sent(peer: Peer, data: bytes, *, keep: bool) -> bool:
    peer.send(data)
    return keep


def _read(sock: socket.socket) -> Request | None:
    """Read one request; None if the client has closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += sock.recv(65536)
    return Request(method, path, headers, body)
