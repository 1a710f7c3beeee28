"""The thread that owns a connection: opens it, waits on it and on its own wake-up, and opens the next.

No other thread touches the connection: others leave their wishes in the handler and call `wake`.
"""

from __future__ import annotations

import os
import random
import select
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from amqp.exceptions import AccessRefused

from bridge.adapters.amqp.connection import BROKER_ERRORS, Broker
from bridge.adapters.amqp.handshake import BrokerRefused, BrokerUnreachable
from bridge.adapters.amqp.pulse import NodeSilent, Pulse
from bridge.adapters.amqp.topology import TopologyMismatch
from bridge.domain.broker_url import unverified

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.amqp.handshake import BrokerAddress
    from bridge.ports import Clock

#: Seconds between two looks at heartbeats and deadlines while nothing happens.
TICK = 0.5
#: Seconds until the next try after a failed one: the first, and the most it doubles to.
FIRST_BACKOFF = 0.2
MAX_BACKOFF = 5.0
#: Seconds that a connection must have lived not to count as a failed try when it is lost.
PROVEN = 5.0
#: What may help where the broker refuses a declaration: it does so also for what is there.
NO_RIGHT = (
    "give the user the right to configure it, or run `bridge topology declare` as one who has it and set "
    "broker.declare = false"
)


class Handler(Protocol):
    """Uses the connection. All of it runs on the link's thread."""

    def opened(self, broker: Broker) -> None:
        """Use a new connection: declare, consume, publish again."""
        ...

    def work(self, broker: Broker) -> None:
        """Do what there is to do: called after each wake-up, after each read, and about once a second."""
        ...

    def lost(self) -> None:
        """Forget the connection: all that was under way on it is open again."""
        ...


class Log(Protocol):
    """The log of a link: a logger of structlog, or one with the same methods."""

    def info(self, event: str, /, **fields: object) -> object:
        """Log that something went as it should."""
        ...

    def warning(self, event: str, /, **fields: object) -> object:
        """Log a failure that is tried again."""
        ...

    def error(self, event: str, /, **fields: object) -> object:
        """Log an error that an operator has to fix."""
        ...

    def critical(self, event: str, /, **fields: object) -> object:
        """Log a mistake of ours."""
        ...


class ConnectionDown(Exception):
    """The handler has reason to distrust the connection; the message says why."""


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """Where a link connects to, and who hears of it."""

    address: BrokerAddress
    #: Shown by the broker's own tools; the thread has it, too.
    name: str
    clock: Clock
    #: Called when a mistake of ours has ended the thread: nothing more is published or consumed.
    on_crash: Callable[[], None] = lambda: None
    #: In place of structlog's: in other people's processes how to log is theirs to say.
    log: Log | None = None


class ConnectionThread:
    """Runs a handler on a connection that is always there, or about to be."""

    def __init__(self, options: ConnectionOptions, handler: Handler) -> None:
        self._name, self._address, self._clock = options.name, options.address, options.clock
        self._on_crash = options.on_crash
        self._handler = handler
        self._stopping = threading.Event()
        #: How often the thread went round, connected or not: what stands still counts no more.
        self.iterations = 0
        # A pipe rather than an eventfd, which only Linux has.
        self._wakeup, self._waker = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(self._waker, False)
        self._awake = False
        #: Whether the thread was not woken yet for what was left last; the thread that flushes keeps it.
        self.unflushed = False
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._log = _structlog(self._name) if options.log is None else options.log
        #: Whether there is a connection, and whether an alarm of the broker keeps it from reading what we write.
        self.connected = self.blocked = False
        #: Whether the last connection was lost because the other side did not answer.
        self._is_silent = False
        #: The last problem; a handler that knows that it is over clears it.
        self.problem = ""
        #: Called on the thread after a round of tries in vain: with the reasons where every address has refused us,
        #: else with nothing.
        self.on_round: Callable[[str], None] = _ignore
        self._refusals: list[str] = []

    def start(self) -> None:
        """Start the thread; it connects when it can."""
        for location in unverified(self._address.nodes):
            self._log.warning(
                "broker.unverified", broker=location, hint="verify=verify_none: remove it from broker.url"
            )
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Do the work that is left, close the connection and end the thread, within `timeout` seconds."""
        self._stopping.set()
        self.wake()
        self._thread.join(timeout)

    def wake(self) -> None:
        """Have the handler's `work` called soon. From any thread; cheap when it is awake already."""
        if not self._awake:
            self._awake = True
            os.write(self._waker, b"!")

    def flush(self) -> None:
        """Wake the thread for what was left `unflushed`. From one thread."""
        if self.unflushed:
            self.unflushed = False
            self.wake()

    def _run(self) -> None:
        try:
            self._keep_connected()
        except Exception:  # noqa: BLE001 - the outermost loop
            self._log.critical("connection.crashed", exc_info=True)
            self._on_crash()

    def _keep_connected(self) -> None:
        # Tries since a connection was good for something, and which address is next.
        attempt, node_index = 0, -1
        while not self._stopping.is_set():
            self.iterations += 1
            node_index += 1
            opened = self._open(node_index, attempt)
            if opened is not None and self._live(*opened):
                attempt = 0
                self._refusals.clear()
                if not self._is_silent:
                    # Begin anew: a node that restarts refuses at once, and all would gather on the one that is next.
                    node_index = -1
                continue
            attempt += 1
            if attempt % len(self._address.nodes) == 0:
                self._end_round()
                self._pause(attempt // len(self._address.nodes) - 1)

    def _open(self, node_index: int, attempt: int) -> tuple[Broker, Pulse] | None:
        try:
            broker = Broker.open(self._address, self._name, attempt=node_index)
        except BrokerUnreachable as e:
            self.problem = str(e)
            if isinstance(e, BrokerRefused):
                self._refusals.append(self.problem)
            self._log.warning("broker.unreachable", reason=self.problem, attempt=attempt + 1)
            return None
        try:
            broker.on_alarm = self._on_alarm
            pulse = Pulse(broker, self._clock)
            self._handler.opened(broker)
        except TopologyMismatch as e:
            self.problem = str(e)
            self._log.error("topology.mismatched", reason=self.problem, attempt=attempt + 1)
        except (ConnectionDown, *BROKER_ERRORS) as e:
            self.problem = _reason(e)
            hint = {"hint": NO_RIGHT} if isinstance(e, AccessRefused) else {}
            self._log.warning("broker.refused", reason=self.problem, attempt=attempt + 1, **hint)
        else:
            self.connected = True
            self._log.info("broker.connected")
            return broker, pulse
        finally:
            if not self.connected:
                broker.abandon()
                self._lose()
        return None

    def _lose(self) -> None:
        self.connected = self.blocked = False
        self._handler.lost()

    def _on_alarm(self, is_blocked: bool) -> None:  # noqa: FBT001 - see `Broker.on_alarm`
        self.blocked = is_blocked
        if is_blocked:
            self._log.warning("broker.blocked", hint="an alarm of memory or disk: see the broker's log")
        else:
            self._log.info("broker.unblocked")

    def _end_round(self) -> None:
        refusals, self._refusals = self._refusals, []
        self.on_round("; ".join(refusals) if len(refusals) == len(self._address.nodes) else "")

    def _pause(self, iterations: int) -> None:
        """Wait before the next round, with jitter: the broker's return must not be a stampede."""
        longest = min(MAX_BACKOFF, FIRST_BACKOFF * 2.0 ** min(iterations, 10))
        self._stopping.wait(longest * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    def _live(self, broker: Broker, pulse: Pulse) -> bool:
        """Serve the connection until it is lost or to be closed; returns whether it was good for something."""
        since = self._clock.monotonic()
        try:
            self._serve(broker, pulse)
        except (ConnectionDown, NodeSilent, *BROKER_ERRORS) as e:
            self.problem = _reason(e)
            # Such a node would not take a new connection either.
            self._is_silent = isinstance(e, ConnectionDown | NodeSilent | TimeoutError)
            self._log.warning("broker.lost", reason=self.problem)
        else:
            broker.close()
        finally:
            broker.abandon()
            self._lose()
        return self._clock.monotonic() - since >= PROVEN

    def _serve(self, broker: Broker, pulse: Pulse) -> None:
        poll = select.poll()
        poll.register(broker.sock, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        ticked = self._clock.monotonic()
        self._handler.work(broker)
        while not self._stopping.is_set():
            self.iterations += 1
            ready = poll.poll(0 if broker.buffered() else TICK * 1000)
            is_woken = (self._wakeup, select.POLLIN) in ready
            if is_woken:
                os.read(self._wakeup, 4096)
            # After the byte was read and before the work: each `wake` from here on writes another, and what
            # was left before an earlier one is done now. A byte that comes late wakes us once in vain.
            self._awake = False
            if broker.buffered() or len(ready) > is_woken:
                broker.drain()
            if self._clock.monotonic() - ticked >= TICK:
                broker.heartbeat()
                pulse.check()
                ticked = self._clock.monotonic()
            self._handler.work(broker)
        self._handler.work(broker)


def _ignore(_refusal: str) -> None:
    """Do nothing about a refusal: it is tried again."""


def _structlog(name: str) -> Log:
    # Not at the top: a process with a log of its own need not load this one, which takes as long as all else here.
    import structlog

    log: Log = structlog.get_logger().bind(connection=name)
    return log


def _reason(error: BaseException) -> str:
    """Say what went wrong in the broker's own words, which name queues and codes, never a message."""
    if isinstance(error, ConnectionDown | NodeSilent):
        return str(error)
    reply = getattr(error, "reply_text", None)
    return f"{type(error).__name__}: {reply or error}"
