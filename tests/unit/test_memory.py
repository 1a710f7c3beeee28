"""The memory of notifications, also while the ledger is unavailable, slow or broken."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from bridge.adapters.clock import SystemClock
from bridge.concurrency.event_loop import LoopCaller
from bridge.domain.receipts import SentSubmission
from bridge.ingest.actions import Owner
from bridge.ingest.memory import BATCH, LATER, MemoryLimits, NotificationMemory, Question
from bridge.ports import LedgerUnavailable
from tests.fakes.ledger import MemorySeen
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterator
    from typing import Literal


SENT = SentSubmission(command_id="c1", index=0, replay=0, message_id="m1", event=b"")


class Store(MemorySeen):
    """A ledger that is unavailable or stalled as long as a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.unavailable = False
        self.broken = False
        self.going = threading.Event()
        self.going.set()
        self.lookups: list[set[str]] = []
        self.notes: list[list[str]] = []
        self.opened = 0
        self.messages: dict[str, SentSubmission] = {}

    def __call__(self) -> Store:
        self._reached()
        self.opened += 1
        return self

    def known(self, ids: Collection[str]) -> set[str]:
        self._reached()
        self.lookups.append(set(ids))
        return super().known(ids)

    def note(self, ids: Collection[str], now: float) -> None:
        self._reached()
        self.notes.append(list(ids))
        super().note(ids, now)

    def sent(self, message_id: str) -> SentSubmission | None:
        self._reached()
        return self.messages.get(message_id)

    def _reached(self) -> None:
        self.going.wait(20)
        if self.unavailable:
            raise LedgerUnavailable("it is unavailable")
        if self.broken:
            raise TypeError("an unexpected exception")


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def crashed() -> threading.Event:
    return threading.Event()


@pytest.fixture
def make(store: Store, crashed: threading.Event) -> Iterator[Callable[..., NotificationMemory]]:
    made: list[NotificationMemory] = []

    def start(*, timeout: float = 10.0, pause: float = 0.01, remembered: int = 100) -> NotificationMemory:
        limits = MemoryLimits(timeout=timeout, first_timeout=15.0, pause=pause, remembered=remembered)
        memory = NotificationMemory(store, clock=SystemClock(), on_crash=crashed.set, limits=limits)
        memory.start()
        made.append(memory)
        wait_until(lambda: memory.timeout == timeout, what="a first try of the ledger")
        return memory

    yield start
    store.going.set()
    for memory in made:
        memory.stop()


def run(*asked: Coroutine[object, object, object]) -> list[object]:
    """Make all queries at once, on a separate event loop."""

    async def everything() -> list[object]:
        return list(await asyncio.gather(*asked))

    return asyncio.run(everything(), debug=True)


async def ask(memory: NotificationMemory, kind: Literal["known", "owner"], id_: str) -> object:
    """Return the result of a query, None if the ledger is unavailable or too slow."""
    reply: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    caller = LoopCaller(asyncio.get_running_loop())

    def answered(given: object) -> None:
        if not reply.done():
            reply.set_result(given)

    given = memory.ask(Question(kind, [id_], answered, caller))
    if given is not LATER:
        return given
    try:
        async with asyncio.timeout(memory.timeout):
            return await reply
    except TimeoutError:
        memory.time_out()
        return None


async def knows(memory: NotificationMemory, event_id: str) -> bool | None:
    known = await ask(memory, "known", event_id)
    return None if known is None else event_id in known  # type: ignore[operator]


async def note(memory: NotificationMemory, event_id: str) -> None:
    memory.note([event_id], (), LoopCaller(asyncio.get_running_loop()))
    # The thread is woken after this iteration of the loop.
    await asyncio.sleep(0)


async def owner(memory: NotificationMemory, message_id: str) -> object:
    return await ask(memory, "owner", message_id)


def test_notification_noted_by_one_process_is_known_to_another(
    make: Callable[..., NotificationMemory], store: Store
) -> None:
    one, other = make(), make()
    run(note(one, "e1"))
    wait_until(lambda: store.notes)

    assert run(knows(one, "e1"), knows(other, "e1"), knows(other, "e2")) == [True, True, False]


def test_waiting_notes_are_written_in_the_next_transaction(
    make: Callable[..., NotificationMemory], store: Store
) -> None:
    memory = make()
    store.going.clear()

    async def let_go() -> None:
        store.going.set()

    # The last in the queue: all others wait by then.
    run(*(knows(memory, f"e{number}") for number in range(BATCH)), let_go())

    assert sum(map(len, store.lookups)) == BATCH
    # The initial one, one for the first, one for all others.
    assert len(store.lookups) <= 3


def test_recent_notes_are_known_without_the_ledger(
    make: Callable[..., NotificationMemory], store: Store
) -> None:
    memory = make(remembered=2)
    for name in ("e1", "e2", "e3"):
        run(note(memory, name))
    # Not through the memory's store: this is not a lookup of the memory.
    wait_until(lambda: MemorySeen.known(store, {"e1"}), what="the ledger to be told")
    known = run(*(knows(memory, name) for name in ("e1", "e2", "e3")))

    assert known == [True] * 3
    # Besides the initial one, which had nothing to note.
    assert [some for some in store.lookups if some] == [{"e1"}]


def test_unavailable_ledger_delays_nothing_and_recent_notes_alone_are_known(
    make: Callable[..., NotificationMemory], store: Store
) -> None:
    store.unavailable = True
    with capture_logs() as lines:
        memory = make(pause=30.0)
        first = run(knows(memory, "e0"))
        run(note(memory, "e1"))
        rest = run(knows(memory, "e1"), knows(memory, "e2"), knows(memory, "e3"))
    memory.stop()

    assert (first, rest) == ([None], [True, None, None])
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("notifications.not_deduplicated", "it is unavailable")
    ]


def test_notes_made_while_the_ledger_was_unavailable_are_written_later(
    make: Callable[..., NotificationMemory], store: Store
) -> None:
    store.unavailable = True
    memory, other = make(), make()
    for number in range(3):
        run(note(memory, f"e{number}"))
    store.unavailable = False
    wait_until(lambda: sorted(id_ for notes in store.notes for id_ in notes) == ["e0", "e1", "e2"])
    wait_until(lambda: run(knows(other, "e1")) == [True], what="the other one to be back, too")

    assert run(knows(memory, "e9")) == [False]
    assert store.lookups[-1] == {"e9"}


def test_stalled_ledger_is_waited_for_once(make: Callable[..., NotificationMemory], store: Store) -> None:
    memory = make(timeout=0.05)
    store.going.clear()

    async def one_after_another() -> list[bool | None]:
        return [await knows(memory, f"f{number}") for number in range(100)]

    first = run(knows(memory, "e1"))
    patient = SystemClock().monotonic()
    rest = run(one_after_another())
    run(note(memory, "e2"))
    took = SystemClock().monotonic() - patient
    store.going.set()
    wait_until(lambda: ["e2"] in store.notes)
    wait_until(lambda: run(knows(memory, "g1")) == [False] and {"g1"} in store.lookups)

    assert (first, rest) == ([None], [[None] * 100])
    # A hundred times the timeout would be 5 s.
    assert took < 4


def test_first_wait_for_a_ledger_is_longer_and_within_the_request_timeout(
    store: Store, crashed: threading.Event
) -> None:
    store.going.clear()
    impatient, patient = (
        NotificationMemory(
            store, clock=SystemClock(), on_crash=crashed.set, limits=MemoryLimits(first_timeout=seconds)
        )
        for seconds in (0.05, 20.0)
    )
    impatient.start()
    patient.start()

    async def let_go() -> None:
        store.going.set()

    gave_up = run(owner(impatient, "m1"))
    store.messages = {"m1": SENT}
    waited = run(owner(patient, "m1"), let_go())
    impatient.stop()
    patient.stop()

    assert (gave_up, waited[0]) == ([None], Owner(SENT))


def test_pending_notes_are_written_before_the_end(
    make: Callable[..., NotificationMemory], store: Store
) -> None:
    memory = make(timeout=0.01)
    store.going.clear()
    run(note(memory, "e1"), note(memory, "e2"))
    threading.Timer(0.1, store.going.set).start()
    memory.stop()

    assert store.known(["e1", "e2"]) == {"e1", "e2"}


def test_failed_ledger_is_reopened(make: Callable[..., NotificationMemory], store: Store) -> None:
    memory = make()
    run(note(memory, "e1"))
    store.unavailable = True
    run(note(memory, "e2"))
    wait_until(lambda: memory._unavailable)
    store.unavailable = False
    wait_until(lambda: store.known(["e2"]))

    assert store.opened == 2


def test_submission_of_a_message_is_found_while_the_ledger_is_available(
    make: Callable[..., NotificationMemory], store: Store
) -> None:
    memory = make()
    store.messages = {"m1": SENT}
    there = run(owner(memory, "m1"), owner(memory, "m2"), knows(memory, "e1"))
    store.unavailable = True
    results = run(owner(memory, "m1"), owner(memory, "m1"))

    assert there == [Owner(SENT), Owner(None), False]
    assert results == [None] * 2


def test_query_for_the_submission_of_a_message_times_out_soon(
    make: Callable[..., NotificationMemory], store: Store
) -> None:
    memory = make(timeout=0.05)
    store.going.clear()

    assert run(owner(memory, "m1")) == [None]


def test_unexpected_exception_ends_the_process_and_delays_no_request_before(
    make: Callable[..., NotificationMemory], store: Store, crashed: threading.Event
) -> None:
    memory = make(timeout=0.05)
    store.broken = True
    with capture_logs() as lines:
        first = run(knows(memory, "e1"))
        ended = crashed.wait(10)
    began = SystemClock().monotonic()
    rest = run(*(knows(memory, f"f{number}") for number in range(100)))
    run(note(memory, "e2"))
    took = SystemClock().monotonic() - began

    assert (ended, first, rest) == (True, [None], [None] * 100)
    assert [(line["event"], line["log_level"]) for line in lines] == [("thread.crashed", "critical")]
    assert took < 4
