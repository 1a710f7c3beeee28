"""What the flows need from the outside, in the core's words. Adapters fill these; so do the tests' fakes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from bridge.core.answers import Answer
    from bridge.core.events import Event
    from bridge.core.ledger import Change, Place
    from bridge.core.receipts import Awaited, Pair, Sent
    from bridge.core.reconcile import Reading, Window


#: What a span is, and what may be said of it.
Kind: TypeAlias = Literal["consumer", "client", "producer", "server"]
Value: TypeAlias = "str | int | bool"


class Clock(Protocol):
    """The one source of time."""

    def now(self) -> float:
        """Return the wall clock, in seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start, never going back."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One message to publish: persistent, confirmed by the broker."""

    exchange: str
    routing_key: str
    body: bytes = field(repr=False)
    content_type: str | None = "application/json"
    #: AMQP basic properties beside content type and delivery mode: ``message_id``, ``correlation_id``, ``type`` …
    properties: Mapping[str, object] = field(default_factory=dict, repr=False)
    headers: Mapping[str, object] = field(default_factory=dict, repr=False)
    #: The queue that takes it, through the default exchange, where no queue is bound for it.
    fallback: str | None = None
    #: Seconds until it is published; None for now.
    delay: int | None = None
    #: Whether it may be dropped where no queue is bound for it; otherwise it is tried until one is.
    droppable: bool = False


class PublisherFull(Exception):
    """The publisher holds as much unconfirmed as it may."""


class Publisher(Protocol):
    """Publishes and says when the broker has it."""

    def publish(self, message: Outgoing, told: Callable[[], None], *, soon: bool = True) -> None:
        """Take `message` and call `told` once it is confirmed, taken by its fallback, or dropped as it allows.

        Where it need not be `soon`, the next `flush` will do: to wake the publisher is a system call.

        Returns at once; `told` runs on the publisher's own thread and must not block. A lost connection, a nack or a
        frozen broker only delays `told`: the message is published again, byte for byte, until it is confirmed.

        Raises:
            PublisherFull: too much is unconfirmed; nothing was taken.

        """
        ...

    def flush(self) -> None:
        """Have what was taken written now. From one thread alone, the one that publishes what need not be soon."""
        ...

    @property
    def available(self) -> bool:
        """Whether the broker takes messages now: connected and not blocked by an alarm."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """A command that somebody handed over by HTTP, and nobody has judged yet."""

    body: bytes = field(repr=False)
    #: What it is known by, where its sender said so beside it.
    key: str | None = None
    traceparent: str | None = None
    #: The address that it came from.
    client: str | None = None


class Offered(Enum):
    """What became of a message that was offered."""

    #: The broker has confirmed it, and a queue has it.
    TAKEN = auto()
    #: The broker has no queue for it, and does not have it.
    UNROUTABLE = auto()
    #: Not confirmed: the broker does not have it, or nobody can tell.
    NOT_TAKEN = auto()


class Offering(Protocol):
    """Publishes once, for who waits for the answer: what is not confirmed in time is not published later."""

    def offer(self, message: Outgoing, told: Callable[[Offered], None], *, until: float) -> None:
        """Publish `message`, and call `told` once its fate is certain or can't be learnt.

        What was not written by `until` (`Clock.monotonic` seconds) never will be; `told` may come later than that.
        Returns at once; `told` runs on any thread, once, and must not block.
        """
        ...

    @property
    def available(self) -> bool:
        """Whether the broker takes messages now."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """A command as the broker delivered it: bytes nobody has judged yet."""

    body: bytes = field(repr=False)
    #: Which message of which connection this is, to settle it with; opaque to all but its source.
    tag: tuple[int, int]
    redelivered: bool = False
    #: AMQP basic properties as they came (``message_id``, ``reply_to``, ``correlation_id`` …).
    properties: Mapping[str, object] = field(default_factory=dict, repr=False)
    headers: Mapping[str, object] = field(default_factory=dict, repr=False)
    #: Whether properties and headers are empty because no AMQP library can read them.
    unreadable: bool = False


class Depth(NamedTuple):
    """What waits on a queue, and how many wait for it."""

    #: Messages that were delivered to nobody.
    ready: int
    consumers: int


class CommandSource(Protocol):
    """Where commands come from. Every delivery is settled once: acked or given back.

    A source may lose what it has delivered, with its connection. It says so before it delivers anything else; all that
    was not settled comes again, here or at another worker, and settling it has no effect any more.

    What is settled reaches the broker with the next `flush`, or within a second. One thread settles.
    """

    def ack(self, delivery: Delivery) -> None:
        """Take the command off the queue: its effect is durable elsewhere."""
        ...

    def give_back(self, delivery: Delivery) -> None:
        """Put the command back on the queue, for another worker or a later time."""
        ...

    def flush(self) -> None:
        """Have the broker learn now what was settled."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One message to one destination, as it goes to the provider (wire reference 4.1)."""

    command_id: str | None
    index: int
    #: As the provider takes it: E.164 where it can be told, else as the command wrote it.
    destination_address: str = field(repr=False)
    #: The same, or ``default``.
    sender_address: str = field(repr=False)
    message: str = field(repr=False)
    #: W3C trace context of the command, where it has one.
    traceparent: str | None = None
    #: After when it is not submitted any more, in seconds since the epoch; None for never.
    expires_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """How a submission's calls ended."""

    answer: Answer
    #: HTTP calls made for it this time; a repeat after a token's renewal is part of its attempt, and one that found no
    #: connection or no token is an attempt, too. 0 where there was no time for any: then `answer` is `Unsent`, and
    #: says nothing of the provider.
    attempts: int


class Span(Protocol):
    """A part of a trace, begun and not yet ended."""

    @property
    def traceparent(self) -> str:
        """By which whatever comes of it belongs to it (W3C Trace Context)."""
        ...

    def end(self, attributes: Mapping[str, Value], *, error: str | None = None) -> None:
        """End it, for good: as a failure where there is an `error`, one of a few words. From any thread."""
        ...


class Tracer(Protocol):
    """Tells somebody of spans. Never waits, and never raises for whoever should be told."""

    def begin(self, kind: Kind, name: str, *, parent: str | None, attributes: Mapping[str, Value]) -> Span:
        """Begin a span under the one whose `traceparent` is given, or a trace of its own. From any thread."""
        ...


class Gateway(Protocol):
    """The provider, as far as sending goes."""

    def send(self, submission: Submission, *, until: float) -> Attempted:
        """Submit and say what became of it; blocks the calling thread.

        Attempts that were certainly not submitted are repeated in process for a short while, and no call is started
        that could still run at `until` (`Clock.monotonic` seconds), nor once the submission has expired. Never raises
        for anything the provider or the network does: that is an answer.
        """
        ...

    def look(self, submission: Submission, *, window: Window | None, until: float) -> Reading | None:
        """Read the provider's history for the submission's pair of addresses.

        With a `window` of its attempts, also how much the whole account has, where that matters to what is absent.
        Returns None where it is not to be had, within `until` (`Clock.monotonic` seconds). Blocks the calling thread.
        """
        ...

    def probe(self, *, until: float) -> bool:
        """Return whether the provider answers and takes our credentials, by a call that sends nothing."""
        ...


class Channel(Protocol):
    """Where the provider posts notifications to."""

    @property
    def id(self) -> str: ...
    @property
    def callback(self) -> str: ...
    @property
    def webhook_url(self) -> str | None: ...
    @property
    def authorization(self) -> str | None: ...
    @property
    def correlator(self) -> str | None: ...


class Subscription(Protocol):
    """Which channel is told of a number's messages, by the channel's callback."""

    @property
    def id(self) -> str: ...
    @property
    def notify(self) -> str | None: ...
    @property
    def destination_address(self) -> str | None: ...
    @property
    def correlator(self) -> str | None: ...


class Channels(Protocol):
    """The notification channels of the account."""

    def list(self) -> Sequence[Channel]:
        """Return all of them."""
        ...

    def create(self, *, webhook_url: str, authorization: str | None) -> Channel:
        """Make a webhook channel; its notifications come with `authorization`."""
        ...

    def delete(self, channel_id: str) -> None:
        """Delete one; one that is not there is deleted already."""
        ...


class Subscriptions(Protocol):
    """The subscriptions of the account."""

    def list(self) -> Sequence[Subscription]:
        """Return all of them."""
        ...

    def create(self, *, notify: str, number: str | None = None) -> Subscription:
        """Have the channel with the callback `notify` told of a number's messages, or of the default number's."""
        ...

    def delete(self, subscription_id: str) -> None:
        """Delete one; one that is not there is deleted already."""
        ...


class Notifying(Protocol):
    """The provider, as far as notifications go. Every call raises what the adapter says."""

    @property
    def channels(self) -> Channels: ...
    @property
    def subscriptions(self) -> Subscriptions: ...

    def close(self) -> None:
        """Close all connections."""
        ...


class Ledger(Protocol):
    """The durable record of submissions; used by one thread at a time."""

    @property
    def adopted_at(self) -> float | None:
        """When it was put in another ledger's place, in seconds since the epoch; None where it was not."""
        ...

    def apply(self, changes: Sequence[Change]) -> list[object]:
        """Carry the changes out in order, in one durable transaction, and return what each gave back.

        Raises:
            ChangeRefused: one of them is at fault; nothing was committed.
            LedgerUnavailable: nothing was committed.

        """
        ...

    def time(self) -> float | None:
        """Return the time of all who share the ledger, in seconds since the epoch; None where it has no clock.

        Raises:
            LedgerUnavailable: it can't be asked.

        """
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


class Seen(Protocol):
    """Which notifications are events already, by the ids of those; used by one thread at a time.

    A part of the ledger that waits for none of its other users. Both calls may be repeated without harm.
    """

    def known(self, ids: Collection[str]) -> set[str]:
        """Return those of the event ids that were noted, by whichever process.

        Raises:
            LedgerUnavailable: nobody can tell.

        """
        ...

    def note(self, ids: Collection[str], now: float) -> None:
        """Note event ids durably; what was noted before keeps its time. `now` is in seconds since the epoch.

        Raises:
            LedgerUnavailable: none of them was noted.

        """
        ...

    def sent(self, message_id: str) -> Sent | None:
        """Return the submission that was sent as this message of the provider's, if the ledger knows it.

        Raises:
            LedgerUnavailable: nobody can tell.

        """
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


class Receipts(Protocol):
    """The receipts that are awaited; used by one thread at a time. All calls but `close` raise LedgerUnavailable.

    Times are in seconds since the epoch.
    """

    def due_at(self) -> float | None:
        """Return when the next is due to be asked for; None where none is awaited."""
        ...

    def take(self, now: float, until: float, limit: int) -> Sequence[Awaited]:
        """Take what is due, the longest first, and at most `limit`: nobody else does before `until`."""
        ...

    def postpone(self, asks: Mapping[Place, float]) -> None:
        """Have receipts due again when it says."""
        ...

    def end(self, places: Collection[Place], told: Collection[str], now: float) -> None:
        """Await these no longer, and note the ids of the events that told them, as `Seen` does."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


class Watermarks(Protocol):
    """Until when the provider's history was read whole, by number of ours, in seconds since the epoch."""

    def watermarks(self) -> dict[str, float]:
        """Return all of them.

        Raises:
            LedgerUnavailable: they can't be read.

        """
        ...

    def advance(self, marks: Mapping[str, float]) -> None:
        """Note them; none goes back.

        Raises:
            LedgerUnavailable: nothing was noted.

        """
        ...


class KeptThread(Protocol):
    """The messages between a number of ours and another one, as the provider lists them."""

    @property
    def remote_address(self) -> str: ...
    @property
    def local_address(self) -> str: ...
    @property
    def last_message_at(self) -> float | None: ...


class KeptMessage(Protocol):
    """A message as the provider keeps it. `at` is `date_time` in seconds since the epoch, where it can be told."""

    @property
    def message_id(self) -> str: ...
    @property
    def direction(self) -> str: ...
    @property
    def text(self) -> str | None: ...
    @property
    def remote_address(self) -> str: ...
    @property
    def local_address(self) -> str: ...
    @property
    def date_time(self) -> object: ...
    @property
    def at(self) -> float | None: ...


class Archive(Protocol):
    """The provider's message history, as far as catching up goes. Blocks the calling thread."""

    def threads(self) -> tuple[Sequence[KeptThread], bool]:
        """Return the threads, and whether these are all.

        Raises:
            ArchiveUnavailable: they can't be had now.

        """
        ...

    def messages(self, thread: KeptThread, since: float) -> tuple[Sequence[KeptMessage], bool]:
        """Return the thread's messages, and whether none from `since` (seconds since the epoch) on may be missing.

        Raises:
            ArchiveUnavailable: they can't be had now.

        """
        ...


class Statuses(Protocol):
    """What the provider says became of messages. Blocks the calling thread, until `until` (`Clock.monotonic` seconds).

    A status is in the provider's words, or None where it has none to tell.
    """

    def of_message(self, pair: Pair, message_id: str, *, until: float) -> str | None:
        """Return the status of a message, by one call.

        Raises:
            ArchiveUnavailable: the provider can't be asked now.

        """
        ...

    def of_thread(self, pair: Pair, *, until: float) -> Mapping[str, str | None]:
        """Return the statuses of the messages that the thread lists first, by their ids, by one call.

        Raises:
            ArchiveUnavailable: the provider can't be asked now.

        """
        ...


class ArchiveUnavailable(Exception):
    """The provider's history can't be had now; the text may be logged."""


class LedgerUnavailable(Exception):
    """The ledger could not commit; the message says why and what to look at."""


class ChangeRefused(Exception):
    """The ledger is well, and one of the changes can't be carried out, ever; the message says why."""


class LedgerUnusable(LedgerUnavailable):
    """The ledger is not for this bridge, and waiting does not change that; the message says what does."""


class Progress(Protocol):
    """Is told how far something long is, by whoever does it."""

    def __call__(self, done: int, total: int | None) -> None:
        """Take note that so many are done, of `total`; None: nobody knows how many there are."""
        ...


def unwatched(done: int, total: int | None) -> None:
    """Fill `Progress` where nobody looks."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """An event in the spool."""

    #: Grows with every event that is kept: the order of the spool.
    number: int
    event: Event


@dataclass(frozen=True, slots=True)
class SpoolContents:
    """What a spool holds, all in all."""

    events: int
    #: Each event counts with its body and `SPOOL_OVERHEAD`.
    bytes: int
    #: When the oldest was kept, in seconds since the epoch; None where there is none.
    oldest_at: float | None
    #: How many events, or ends of files, were found damaged and set aside since it was opened.
    damaged: int = 0
    #: How often all of it had to go to another file, where events may be numbered anew.
    moved: int = 0


#: Bytes that an event takes in the spool beside its body, about.
SPOOL_OVERHEAD = 256


class Spool(Protocol):
    """Keeps events on the disk until the broker has them; used by one thread at a time.

    What is found damaged is set aside and counted; it never stands in the way of the rest. Where its files are removed
    or replaced, what it holds is written again, by the next change or probe.
    """

    @property
    def contents(self) -> SpoolContents:
        """What it holds, as of the last change."""
        ...

    def change(self, keep: Sequence[Event], forget: Collection[str], *, now: float) -> None:
        """Keep events, then forget those with the ids `forget`: one transaction, on the disk when this returns.

        An event whose id is kept already is kept as it was; an id that is not kept is no mistake. `now` is in seconds
        since the epoch.

        Raises:
            SpoolUnavailable: nothing was changed, or not where a restart would find it.

        """
        ...

    def oldest(self, limit: int, *, after: int) -> list[Spooled]:
        """Return the oldest events with numbers above `after`, at most `limit`.

        Raises:
            SpoolUnavailable: they can't be read now.

        """
        ...

    def probe(self) -> None:
        """Write something that changes nothing, to learn whether it can be.

        Raises:
            SpoolUnavailable: it can't.

        """
        ...

    def close(self) -> None:
        """Let go of the directory."""
        ...


class SpoolUnavailable(Exception):
    """The spool can't keep or give anything now; the message says why and names the directory."""
