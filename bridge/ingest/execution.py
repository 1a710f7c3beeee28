"""Types of the executor: a notification in flight, the settings, the event memory and the event publisher."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from bridge.ports.http_results import NotificationResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.concurrency.event_loop import LoopCaller
    from bridge.domain.events import Event
    from bridge.domain.evidence import Evidence
    from bridge.ingest.actions import EventSteps, NotificationSteps
    from bridge.ingest.memory import Question
    from bridge.ingest.notification import NotificationFlow, NotificationRules
    from bridge.ops.spans import WebhookTracing
    from bridge.ports import Span

#: Ids under way at once; beyond them others are refused.
LIMIT = 5_000


class EventMemory(Protocol):
    """Remembers events: `bridge.ingest.memory.NotificationMemory`."""

    #: Seconds after which to lose patience with it.
    timeout: float

    def ask(self, question: Question) -> object:
        """Return the answer where it is clear at once, or else LATER: `question.answered` is called with it then."""
        ...

    def time_out(self) -> None:
        """Take note that an answer did not come in time."""
        ...

    def note(self, ids: Sequence[str], also: Sequence[str], caller: LoopCaller) -> None:
        """Remember the ids of a durable event; `also` in the ledger alone."""
        ...


class EventPublisher(Protocol):
    """Makes events durable: `bridge.ingest.durable_publisher.DurablePublisher`."""

    def make_durable(self, event: Event, durable: Callable[[bool], None], caller: LoopCaller) -> None:
        """Call `durable` once it is certain whether the event is; from the event loop of `caller`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationSettings:
    """How notifications are read and answered, and what else learns of them."""

    rules: NotificationRules
    #: Seconds that a request waits at most, for ledger, broker and disk together.
    confirm_timeout: float
    #: Ids under way at once.
    limit: int = LIMIT
    #: Given what notifications prove of messages that were sent.
    on_evidence: Callable[[Evidence], None] | None = None
    #: Given the id of the event of a cancelled subscription.
    on_cancelled: Callable[[str], None] | None = None
    traces: WebhookTracing | None = None


# Not frozen, and each is only itself: one is made for every webhook.
@dataclass(slots=True, eq=False)
class NotificationRun:
    """A notification under way."""

    flow: NotificationFlow
    steps: NotificationSteps | EventSteps
    #: None once it was called: nothing here may keep a connection that is over.
    answered: Callable[[Any], None] | None
    caller: LoopCaller
    #: When it came, in `Clock.monotonic` seconds, and until when its request waits, in the event loop's.
    started: float
    until: float
    #: The bytes of its body; None where no webhook brought it.
    size: int | None = None
    span: Span | None = None
    #: The ids that it is under way by, where it is the first that has them.
    ids: Sequence[str] = ()
    #: The action that it waits for, and until when the ledger may answer that.
    pending: object = None
    asked_until: float = 0.0
    result: NotificationResult | Exception = NotificationResult.REFUSED
    #: The same event, where that was under way before, and those that came while this one was.
    first: NotificationRun | None = None
    others: dict[NotificationRun, None] = field(default_factory=dict)
