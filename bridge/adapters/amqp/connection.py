"""One connection to the broker, opened once and thrown away after its first error.

kombu would reconnect by itself, but without consumers and with confirms of the wrong publish
(docs/internals/decisions.md). So a connection has one owner and one life.
"""

from __future__ import annotations

import contextlib
import select
import struct
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import amqp.serialization
from amqp import spec
from amqp.exceptions import AMQPError

from bridge.adapters.amqp import deliveries
from bridge.adapters.amqp.handshake import BrokerRefused, BrokerUnreachable, discard, open_connection

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from bridge.adapters.amqp.handshake import BrokerAddress
    from bridge.adapters.amqp.message_encoder import Encoded

#: What may go wrong with a connection at any time. Anything else is a mistake of ours.
BROKER_ERRORS = (AMQPError, OSError)

#: Frames handled before anything else gets its turn: heartbeats above all.
BATCH = 1000
#: The frames of AMQP 0-9-1 (section 4.2.3): type, channel and size, then as many bytes and an end.
_FRAME = struct.Struct(">BHI")
_END = b"\xce"
_METHOD, _CONTENT_HEADER, _BODY = 1, 2, 3
#: The same of a content header with its class, weight and the size of the body (section 4.2.6.1).
_HEADER = struct.Struct(">BHIHHQ")
_HEADER_SIZE = _HEADER.size - _FRAME.size
_BASIC = spec.Basic.CLASS_ID, 0

#: Bytes read, or written, at once; a kernel that takes a write at all has room for about as many.
PIECE = 16_384


class Broker:
    """An open connection. Owned by one thread."""

    def __init__(self, connection: Any, sock: socket.socket) -> None:
        self.connection = connection
        self._sock = sock
        # poll rather than select: a process with many files has descriptors above 1023.
        self._reads, self._writes = select.poll(), select.poll()
        self._reads.register(sock, select.POLLIN)
        self._writes.register(sock, select.POLLOUT)
        #: Frames that the next `flush` writes, and their size in bytes.
        self._unwritten: list[bytes] = []
        self._size = 0
        #: Whether one more message can be gathered, and will not block when it is written. Where not, look for room.
        self.has_capacity = True
        self.frame_max: int = connection.frame_max
        #: Returns something where there are bytes to be read that the socket no longer shows.
        self.buffered = _read_ahead(connection.transport)
        #: Whether an alarm of the broker keeps it from reading what we write, and who is called when that changes.
        self.blocked = False
        self.on_alarm: Callable[[bool], None] = _ignore
        connection.on_blocked, connection.on_unblocked = self._on_blocked, self._on_unblocked

    @classmethod
    def open(cls, address: BrokerAddress, name: str, *, attempt: int = 0) -> Broker:
        """Connect to one address; `attempt` is the number of the try and turns to the next of several.

        `name` is shown by the broker's own tools.

        Raises:
            BrokerUnreachable: it can't be reached, or refuses us.

        """
        connection = open_connection(address, address.nodes[attempt % len(address.nodes)], name)
        sock = connection.transport.sock
        # From now on every read and write is bounded. (py-amqp's own `timeout=0` loses half-read frames.)
        sock.settimeout(address.io_timeout)
        return cls(connection, sock)

    @classmethod
    def open_any(cls, address: BrokerAddress, name: str) -> Broker:
        """Connect to the first address that can be reached and lets us in, in their order.

        Raises:
            BrokerUnreachable: there is none; the message has every address and its reason.

        """
        failures: list[BrokerUnreachable] = []
        for attempt in range(len(address.nodes)):
            try:
                return cls.open(address, name, attempt=attempt)
            except BrokerUnreachable as e:
                failures.append(e)
        are_refusals = all(isinstance(failure, BrokerRefused) for failure in failures)
        error = BrokerRefused if are_refusals else BrokerUnreachable
        raise error("; ".join(map(str, failures))) from failures[-1]

    @property
    def sock(self) -> socket.socket:
        """The socket, to wait on."""
        return self._sock

    def channel(self) -> Any:
        """Open a channel on which a body stays bytes, also where its publisher claims an encoding for it."""
        channel = self.connection.channel()
        channel.auto_decode = False
        return channel

    def forget_channel(self, channel: Any) -> None:
        """Have a channel closed, without waiting for it."""
        # From now on py-amqp leaves what arrives on it aside; the answer has it forget the channel.
        channel.is_closing = True
        channel.send_method(spec.Channel.Close, "BsBB", (0, "", 0, 0))

    def readable(self, wait: float = 0.0) -> bool:
        """Whether something is there to be read within `wait` seconds."""
        return bool(self.buffered() or self._reads.poll(wait * 1000))

    def drain(self) -> None:
        """Handle what has arrived, and wait for no more.

        Frame by frame: `drain_events` goes on reading after a heartbeat until something else comes.
        """
        buffered, poll, read = self.buffered, self._reads.poll, self.connection.blocking_read
        for _ in range(BATCH):
            if not (buffered() or poll(0)):
                break
            read()

    def check_capacity(self) -> bool:
        """Return whether a write will not block. A broker that stops reading fills the socket."""
        self.has_capacity = bool(self._writes.poll(0))
        return self.has_capacity

    def gather(self, channel: Any, message: Encoded, exchange: str, routing_key: str) -> None:
        """Have the next `flush` publish a message: one system call for many of them.

        Not `basic_publish`: that reads in between, with a timeout of 0, which can lose half a frame.
        """
        number, body, properties = channel.channel_id, message.body, message.properties
        method = _method(exchange, routing_key)
        frames = [
            _FRAME.pack(_METHOD, number, len(method)),
            method,
            _END,
            _HEADER.pack(_CONTENT_HEADER, number, len(properties) + _HEADER_SIZE, *_BASIC, len(body)),
            properties,
            _END,
        ]
        most = self.frame_max - _FRAME.size - len(_END)
        for start in range(0, len(body), most):
            part = body[start : start + most]
            frames += _FRAME.pack(_BODY, number, len(part)), part, _END
        written = b"".join(frames)
        self._unwritten.append(written)
        self._size += len(written)
        if self._size >= PIECE:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        if self._size:
            frames, self._unwritten, self._size = b"".join(self._unwritten), [], 0
            self.connection.transport.write(frames)
            self.check_capacity()

    def ask_about(self, channel: Any, queue: str, answered: Callable[[str, int, int], None]) -> None:
        """Have `answered` called with name, messages and consumers of `queue` when the broker says so.

        Not `queue_declare`: that waits, and a broker that fell silent is to be noticed by its heartbeats.
        """
        channel._callbacks[spec.Queue.DeclareOk] = answered  # noqa: SLF001 - there is no other way to listen
        channel.send_method(spec.Queue.Declare, "BsbbbbbF", (0, queue, True, False, False, False, False, {}))

    def ask_for_exchange(self, channel: Any, exchange: str, missing: Callable[[], None]) -> None:
        """Have `missing` called when the broker says that it has no such exchange, and wait for nothing.

        The broker closes the channel for it, so that is an open one, for this alone.
        """
        self._expect_close(channel, missing)
        passive = (True, False, False, False, False)
        channel.send_method(spec.Exchange.Declare, "BssbbbbbF", (0, exchange, "fanout", *passive, {}))

    def look_for(self, queue: str, found: Callable[[bool], None]) -> Any:
        """Have `found` called once the broker has said whether there is such a queue.

        Returns the channel that is used for it: close it where there is one.
        """
        channel = self.connection.channel()
        self._expect_close(channel, lambda: found(False))  # noqa: FBT003 - the answer
        self.ask_about(channel, queue, lambda *_: found(True))  # noqa: FBT003 - the answer
        return channel

    def _expect_close(self, channel: Any, closed: Callable[[], None]) -> None:
        """Have `closed` called when the broker closes a channel, which is then forgotten."""

        def on_close(*_: object) -> None:
            channel.send_method(spec.Channel.CloseOk)
            channel.collect()
            closed()

        # py-amqp would open the channel again, and raise an error while it handles other frames.
        channel._callbacks[spec.Channel.Close] = on_close  # noqa: SLF001 - there is no other way to listen

    def ask_for_answer(self, channel: Any, answered: Callable[[], None]) -> None:
        """Have `answered` called once the node has handled all that was written before on this channel.

        With Basic.Qos: it needs no right, changes nothing on a channel without consumers, and is answered by the node
        itself, without a look at any queue.
        """
        channel._callbacks[spec.Basic.QosOk] = answered  # noqa: SLF001 - there is no other way to listen
        channel.send_method(spec.Basic.Qos, "lBb", (0, 1, False))

    def end_consumer(self, channel: Any, tag: str, ended: Callable[[str], None]) -> None:
        """Have the broker end a consumer, and `ended` called with its tag once nothing more comes of it.

        Not `basic_cancel`: that waits, up to a minute where the queue's leader does not answer.
        """

        def on_cancel_ok(tag: str) -> None:
            channel._on_basic_cancel_ok(tag)  # noqa: SLF001 - what it would be without us
            ended(tag)

        channel._callbacks[spec.Basic.CancelOk] = on_cancel_ok  # noqa: SLF001 - there is no other way to listen
        channel.send_method(spec.Basic.Cancel, "sb", (tag, False))

    def heartbeat(self) -> None:
        """Send a heartbeat if it is time, and notice when the broker's fail to come. Call about once a second."""
        self.connection.heartbeat_tick()

    def _on_blocked(self, _reason: str) -> None:
        self.blocked = True
        self.on_alarm(True)  # noqa: FBT003 - the new state

    def _on_unblocked(self) -> None:
        self.blocked = False
        self.on_alarm(False)  # noqa: FBT003 - the new state

    def close(self) -> None:
        """Close the connection; the socket is closed also where that fails."""
        with contextlib.suppress(*BROKER_ERRORS):
            self._sock.settimeout(2.0)
            self.connection.close()
        self.abandon()

    def abandon(self) -> None:
        """Close the socket without a word: what is half-written stays so."""
        discard(self.connection)


def _ignore(_is_blocked: bool) -> None:  # noqa: FBT001 - see `Broker.on_alarm`
    """Do nothing about an alarm."""


def _read_ahead(transport: Any) -> Callable[[], object]:
    """Have py-amqp take from the socket what is there, rather than three pieces of each frame one by one.

    It keeps what it does not need yet in its `_read_buffer`, which it looks into first. Returns a function that returns
    something where there is any, or where TLS holds some.
    """
    recv = transport._quick_recv  # noqa: SLF001 - its only hook
    transport._quick_recv = lambda size: recv(max(size, PIECE))  # noqa: SLF001 - likewise
    read_ahead: Callable[[], object] = partial(getattr, transport, "_read_buffer")
    pending: Callable[[], int] | None = getattr(transport.sock, "pending", None)
    return read_ahead if pending is None else lambda: read_ahead() or pending()


@lru_cache(maxsize=256)
def _method(exchange: str, routing_key: str) -> bytes:
    """Return Basic.Publish, mandatory and not immediate (AMQP 0-9-1 section 1.8.3.7)."""
    arguments: bytes = amqp.serialization.dumps("Bssbb", (0, exchange, routing_key, True, False))
    return struct.pack(">HH", *spec.Basic.Publish) + arguments


deliveries.install()
