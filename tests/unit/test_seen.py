"""How a notification becomes an event once: it comes at the same time, it comes again, and the ledger is away."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from bridge.adapters.clock import SystemClock
from bridge.adapters.store.memory import MemorySeen
from bridge.domain.receipts import SentSubmission
from bridge.ingest.deduplication import Fate, Once
from bridge.ingest.seen_lookup import SeenKeeper
from bridge.ingest.seen_writer import BATCH
from bridge.ops.metrics import Metrics
from bridge.ports import LedgerUnavailable
from tests.fakes.keeper import FakeKeeper
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterator

    from bridge.ingest.deduplication import Publish


# --- once: who comes at the same time ----------------------------------------------------------------------------


class Publishing:
    """Publishes when a test lets it; counts how often it was asked."""

    def __init__(self, *, durable: bool = True) -> None:
        self.asked = 0
        self.durable = durable
        self.held = asyncio.Event()

    def __call__(self, told: Callable[[bool], None]) -> None:
        self.asked += 1
        # Whoever confirms may well do so twice.
        for _ in range(2):
            waiting = asyncio.ensure_future(self.held.wait())
            waiting.add_done_callback(lambda _: told(self.durable))


async def bring(once: Once, publishing: Publish, event_id: str = "e1", *, within: float = 20.0) -> Fate:
    """Bring a notification that waits for so many seconds; its event may have several ids."""
    loop = asyncio.get_running_loop()
    fate: asyncio.Future[Fate] = loop.create_future()

    def told(what: Fate | Exception) -> None:
        assert not fate.done() or fate.cancelled()
        if isinstance(what, Exception):
            fate.set_exception(what)
        elif not fate.cancelled():
            fate.set_result(what)

    once.publish(event_id.split(), publishing, told, until=loop.time() + within)
    return await fate


async def settled() -> None:
    """Let everybody come as far as they can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def together(once: Once, publishing: Publishing, number: int) -> list[Fate]:
    """Bring the same notification `number` times, all before the first is published."""
    coming = [asyncio.create_task(bring(once, publishing)) for _ in range(number)]
    await settled()
    publishing.held.set()
    return await asyncio.gather(*coming)


def test_of_those_that_come_at_once_one_is_published_and_noted() -> None:
    async def scenario() -> None:
        keeper, publishing = FakeKeeper(), Publishing()
        fates = await together(Once(keeper), publishing, 5)

        assert fates == [Fate.PUBLISHED, *[Fate.REPEATED] * 4]
        assert (publishing.asked, keeper.noted) == (1, ["e1"])

    asyncio.run(scenario())


def test_where_the_first_can_not_be_made_durable_none_is_taken_for_a_repeat() -> None:
    async def scenario() -> None:
        keeper, publishing = FakeKeeper(), Publishing(durable=False)
        once = Once(keeper)
        fates = await together(once, publishing, 3)
        publishing.durable = True
        later = await bring(once, publishing)

        assert fates == [Fate.REFUSED] * 3
        assert (later, publishing.asked, keeper.noted) == (Fate.PUBLISHED, 2, ["e1"])

    asyncio.run(scenario())


def test_others_do_not_suffer_from_a_request_that_is_given_up() -> None:
    async def scenario() -> None:
        publishing = Publishing()
        once = Once(FakeKeeper())
        first = asyncio.create_task(bring(once, publishing))
        await settled()
        second = asyncio.create_task(bring(once, publishing))
        await settled()
        first.cancel()
        await settled()
        publishing.held.set()

        assert await second is Fate.REPEATED
        assert (first.cancelled(), publishing.asked) == (True, 1)

    asyncio.run(scenario())


def test_another_event_waits_for_nobody() -> None:
    async def scenario() -> None:
        once, held, free = Once(FakeKeeper()), Publishing(), Publishing()
        free.held.set()
        first = asyncio.create_task(bring(once, held))
        await settled()

        assert await bring(once, free, "e2") is Fate.PUBLISHED
        held.held.set()
        assert await first is Fate.PUBLISHED

    asyncio.run(scenario())


def test_it_is_noted_only_after_it_is_durable() -> None:
    async def scenario() -> None:
        keeper, publishing = FakeKeeper(), Publishing()
        coming = asyncio.create_task(bring(Once(keeper), publishing))
        await settled()
        before = list(keeper.noted)
        publishing.held.set()
        await coming

        assert (publishing.asked, before, keeper.noted) == (1, [], ["e1"])

    asyncio.run(scenario())


def test_what_goes_wrong_in_publishing_is_not_kept_to_oneself_and_not_for_ever() -> None:
    async def scenario() -> None:
        def broken(_: Callable[[bool], None]) -> None:
            raise RuntimeError("broken")

        once, publishing = Once(FakeKeeper()), Publishing()
        publishing.held.set()
        with pytest.raises(RuntimeError, match="broken"):
            await bring(once, broken)

        assert await bring(once, publishing) is Fate.PUBLISHED

    asyncio.run(scenario())


def test_a_confirm_that_comes_after_the_answer_is_noted_and_the_repeat_is_not_published() -> None:
    async def scenario() -> None:
        keeper, publishing = FakeKeeper(), Publishing()
        once = Once(keeper)
        first = await bring(once, publishing, within=0.01)
        before = list(keeper.noted)
        publishing.held.set()
        await settled()
        noted = list(keeper.noted)

        assert (first, before, noted) == (Fate.REFUSED, [], ["e1"])
        assert await bring(once, publishing) is Fate.REPEATED
        assert publishing.asked == 1

    asyncio.run(scenario())


def test_a_repeat_that_comes_before_the_confirm_waits_with_the_first_and_is_published_by_it() -> None:
    async def scenario() -> None:
        publishing = Publishing()
        once = Once(FakeKeeper())
        refused = [await bring(once, publishing, within=0.01) for _ in range(3)]
        last = asyncio.create_task(bring(once, publishing))
        await settled()
        publishing.held.set()

        assert refused == [Fate.REFUSED] * 3
        assert (await last, publishing.asked) == (Fate.REPEATED, 1)

    asyncio.run(scenario())


def test_only_so_many_are_under_way_and_what_is_may_come_again() -> None:
    async def scenario() -> None:
        once, held, free = Once(FakeKeeper(), limit=2), Publishing(), Publishing()
        free.held.set()
        first = [asyncio.create_task(bring(once, held, name)) for name in ("e1", "e2")]
        await settled()
        too_many = await bring(once, free, "e3")
        again = asyncio.create_task(bring(once, held, "e1"))
        await settled()
        held.held.set()
        fates = await asyncio.gather(*first, again)

        assert (too_many, free.asked) == (Fate.REFUSED, 0)
        assert fates == [Fate.PUBLISHED, Fate.PUBLISHED, Fate.REPEATED]
        assert await bring(once, free, "e3") is Fate.PUBLISHED

    asyncio.run(scenario())


def test_what_is_known_by_one_of_its_ids_is_a_repeat_and_is_known_by_all_from_then_on() -> None:
    async def scenario() -> None:
        keeper, publishing = FakeKeeper(), Publishing()
        publishing.held.set()
        once = Once(keeper)
        fates = [await bring(once, publishing, ids) for ids in ("n1", "s1 n1", "s1", "s2 n2", "n2")]

        assert fates == [Fate.PUBLISHED, *[Fate.REPEATED] * 2, Fate.PUBLISHED, Fate.REPEATED]
        assert (publishing.asked, keeper.noted) == (2, ["n1", "s1", "s2", "n2"])

    asyncio.run(scenario())


def test_what_comes_by_another_of_its_ids_meanwhile_shares_its_fate() -> None:
    async def scenario() -> None:
        publishing = Publishing()
        once = Once(FakeKeeper())
        coming = [asyncio.create_task(bring(once, publishing, ids)) for ids in ("n1", "s1 n1", "n1")]
        await settled()
        publishing.held.set()

        assert await asyncio.gather(*coming) == [Fate.PUBLISHED, Fate.REPEATED, Fate.REPEATED]
        assert publishing.asked == 1

    asyncio.run(scenario())


# --- the keeper: what stands between and the ledger ---------------------------------------------------------------


SENT = SentSubmission(command_id="c1", index=0, replay=0, message_id="m1", event=b"")


class Store(MemorySeen):
    """A ledger that is away or stands still as long as a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
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
        if self.away:
            raise LedgerUnavailable("it is away")
        if self.broken:
            raise TypeError("a mistake of ours")


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="0")


@pytest.fixture
def crashed() -> threading.Event:
    return threading.Event()


@pytest.fixture
def make(store: Store, metrics: Metrics, crashed: threading.Event) -> Iterator[Callable[..., SeenKeeper]]:
    made: list[SeenKeeper] = []

    def start(*, patience: float = 10.0, pause: float = 0.01, remembered: int = 100) -> SeenKeeper:
        keeper = SeenKeeper(
            store,
            metrics=metrics,
            clock=SystemClock(),
            on_crash=crashed.set,
            patience=patience,
            pause=pause,
            remembered=remembered,
        )
        keeper.start()
        made.append(keeper)
        assert keeper._noting.tried.wait(10)
        return keeper

    yield start
    store.going.set()
    for keeper in made:
        keeper.stop()


def run(*asked: Coroutine[object, object, object]) -> list[object]:
    """Ask all at once, on a loop of their own."""

    async def everything() -> list[object]:
        return list(await asyncio.gather(*asked))

    return asyncio.run(everything(), debug=True)


async def knows(keeper: SeenKeeper, event_id: str) -> bool:
    known: asyncio.Future[Collection[str]] = asyncio.get_running_loop().create_future()
    keeper.known([event_id], known.set_result)
    return list(await known) == [event_id]


async def note(keeper: SeenKeeper, event_id: str) -> None:
    keeper.note([event_id])
    # The thread is woken when this turn of the loop is over.
    await asyncio.sleep(0)


async def owner(keeper: SeenKeeper, message_id: str) -> SentSubmission | str | None:
    """Return whose a message is, or that nobody can tell."""
    try:
        return await keeper.sent(message_id)
    except LedgerUnavailable:
        return "nobody can tell"


def unchecked(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("sms_bridge_notifications_unchecked_total") or 0.0


def test_what_one_notes_another_knows(
    make: Callable[..., SeenKeeper], store: Store, metrics: Metrics
) -> None:
    one, other = make(), make()
    run(note(one, "e1"))
    wait_until(lambda: store.notes)

    assert run(knows(one, "e1"), knows(other, "e1"), knows(other, "e2")) == [True, True, False]
    assert unchecked(metrics) == 0


def test_what_waits_for_a_transaction_goes_into_the_next_one(
    make: Callable[..., SeenKeeper], store: Store
) -> None:
    keeper = make()
    store.going.clear()

    async def let_go() -> None:
        store.going.set()

    # The last to have its turn: all others wait by then.
    run(*(knows(keeper, f"e{number}") for number in range(BATCH)), let_go())

    assert sum(map(len, store.lookups)) == BATCH
    # One that it began with, one for the first, one for all others.
    assert len(store.lookups) <= 3


def test_what_was_noted_last_is_known_without_the_ledger(
    make: Callable[..., SeenKeeper], store: Store
) -> None:
    keeper = make(remembered=2)
    for name in ("e1", "e2", "e3"):
        run(note(keeper, name))
    # Not by way of the store's own: this is no lookup of the keeper's.
    wait_until(lambda: MemorySeen.known(store, {"e1"}), what="the ledger to be told")
    known = run(*(knows(keeper, name) for name in ("e1", "e2", "e3")))

    assert known == [True] * 3
    # Beside the one that it begins with, where nothing was to be noted by then.
    assert [some for some in store.lookups if some] == [{"e1"}]


def test_while_the_ledger_is_away_nobody_waits_and_nothing_is_known_but_what_is_remembered(
    make: Callable[..., SeenKeeper], store: Store, metrics: Metrics
) -> None:
    store.away = True
    with capture_logs() as lines:
        keeper = make(pause=30.0)
        first = run(knows(keeper, "e0"))
        run(note(keeper, "e1"))
        rest = run(knows(keeper, "e1"), knows(keeper, "e2"), knows(keeper, "e3"))
    keeper.stop()

    assert (first, rest) == ([False], [True, False, False])
    assert unchecked(metrics) == 3
    assert [(line["event"], line["reason"]) for line in lines] == [("notifications.unchecked", "it is away")]


def test_what_it_was_not_told_while_it_was_away_it_is_told_when_it_is_back(
    make: Callable[..., SeenKeeper], store: Store
) -> None:
    store.away = True
    keeper, other = make(), make()
    for number in range(3):
        run(note(keeper, f"e{number}"))
    store.away = False
    wait_until(lambda: sorted(id_ for notes in store.notes for id_ in notes) == ["e0", "e1", "e2"])
    wait_until(lambda: run(knows(other, "e1")) == [True], what="the other one to be back, too")

    assert run(knows(keeper, "e9")) == [False]
    assert store.lookups[-1] == {"e9"}


def test_a_ledger_that_stands_still_is_waited_for_once(
    make: Callable[..., SeenKeeper], store: Store, metrics: Metrics
) -> None:
    keeper = make(patience=0.05)
    store.going.clear()

    async def one_after_another() -> list[bool]:
        return [await knows(keeper, f"f{number}") for number in range(100)]

    first = run(knows(keeper, "e1"))
    patient = SystemClock().monotonic()
    rest = run(one_after_another())
    run(note(keeper, "e2"))
    took = SystemClock().monotonic() - patient
    store.going.set()
    wait_until(lambda: ["e2"] in store.notes)
    wait_until(lambda: run(knows(keeper, "g1")) == [False] and {"g1"} in store.lookups)

    assert (first, rest) == ([False], [[False] * 100])
    # A hundred times the patience would be 5 s.
    assert took < 4
    assert unchecked(metrics) >= 101


def test_at_first_a_ledger_is_waited_for_longer_and_not_for_longer_than_a_request_can(
    store: Store, metrics: Metrics, crashed: threading.Event
) -> None:
    store.going.clear()
    impatient, patient = (
        SeenKeeper(
            store,
            metrics=metrics,
            clock=SystemClock(),
            on_crash=crashed.set,
            patience=0.01,
            first_patience=first,
        )
        for first in (0.05, 20.0)
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

    assert (gave_up, waited[0]) == (["nobody can tell"], SENT)


def test_what_is_owed_is_told_before_the_end(make: Callable[..., SeenKeeper], store: Store) -> None:
    keeper = make(patience=0.01)
    store.going.clear()
    run(note(keeper, "e1"), note(keeper, "e2"))
    threading.Timer(0.1, store.going.set).start()
    keeper.stop()

    assert store.known(["e1", "e2"]) == {"e1", "e2"}


def test_a_ledger_that_failed_is_opened_anew(make: Callable[..., SeenKeeper], store: Store) -> None:
    keeper = make()
    run(note(keeper, "e1"))
    store.away = True
    run(note(keeper, "e2"))
    wait_until(lambda: keeper._noting.away)
    store.away = False
    wait_until(lambda: store.known(["e2"]))

    assert store.opened == 2


def test_whose_a_message_is_can_be_asked_while_the_ledger_is_there(
    make: Callable[..., SeenKeeper], store: Store
) -> None:
    keeper = make()
    store.messages = {"m1": SENT}
    there = run(owner(keeper, "m1"), owner(keeper, "m2"), knows(keeper, "e1"))
    store.away = True
    away = run(owner(keeper, "m1"), owner(keeper, "m1"))

    assert there == [SENT, None, False]
    assert away == ["nobody can tell"] * 2


def test_whoever_asks_whose_a_message_is_does_not_wait_for_long(
    make: Callable[..., SeenKeeper], store: Store
) -> None:
    keeper = make(patience=0.05)
    store.going.clear()

    assert run(owner(keeper, "m1")) == ["nobody can tell"]


def test_a_mistake_of_ours_ends_the_process_and_holds_up_nobody_until_then(
    make: Callable[..., SeenKeeper], store: Store, crashed: threading.Event
) -> None:
    keeper = make(patience=0.05)
    store.broken = True
    with capture_logs() as lines:
        first = run(knows(keeper, "e1"))
        ended = crashed.wait(10)
    began = SystemClock().monotonic()
    rest = run(*(knows(keeper, f"f{number}") for number in range(100)))
    run(note(keeper, "e2"))
    took = SystemClock().monotonic() - began

    assert (ended, first, rest) == (True, [False], [False] * 100)
    assert [(line["event"], line["log_level"]) for line in lines] == [("seen.crashed", "critical")]
    assert took < 4
