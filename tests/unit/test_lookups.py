"""Ledger lookups from an event loop: bounded waits with any behaviour of the ledger."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from bridge.adapters.clock import SystemClock
from bridge.ingest.command_lookup import UNAVAILABLE, Lookups
from bridge.ports import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.domain.ledger import CommandRecord
    from bridge.ingest.command_lookup import Records


class FakeRecords:
    """Fills `bridge.ingest.command_lookup.Records`; opens as itself."""

    def __init__(self, *, unavailable: bool = False) -> None:
        self.unavailable = unavailable
        self.opened = self.closed = self.asked = 0
        #: While clear, the ledger does not respond.
        self.answers = threading.Event()
        self.answers.set()

    def __call__(self) -> FakeRecords:
        if self.unavailable:
            raise LedgerUnavailable("there is no ledger yet")
        self.opened += 1
        return self

    def command(self, command_id: str) -> CommandRecord | None:
        raise AssertionError(command_id)

    def content_hash(self, command_id: str) -> bytes | None:
        self.asked += 1
        self.answers.wait(10)
        if self.unavailable:
            raise LedgerUnavailable("gone")
        return command_id.encode()

    def close(self) -> None:
        self.closed += 1


@contextmanager
def lookups(records: FakeRecords, **options: Any) -> Iterator[Lookups]:
    made = Lookups(records, clock=SystemClock(), **options)
    made.start()
    yield made
    records.answers.set()
    made.stop()


async def ask(made: Lookups, command_id: str = "a", *, timeout: float = 5.0) -> object:
    """Make a lookup, and return its result."""
    stored_event: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    question: Callable[[Records], object] = lambda records: records.content_hash(command_id)  # noqa: E731
    made.ask(question, stored_event.set_result, timeout=timeout)
    return await asyncio.wait_for(stored_event, 10)


def test_concurrent_lookups_share_one_open_ledger() -> None:
    records = FakeRecords()

    async def all_of_them(made: Lookups) -> list[object]:
        return await asyncio.gather(*(ask(made, f"c{number}") for number in range(50)))

    with lookups(records) as made:
        answers = asyncio.run(all_of_them(made), debug=True)

    assert answers == [b"c%d" % number for number in range(50)]
    assert (records.opened, records.closed) == (1, 1)


def test_slow_ledger_times_out_and_further_lookups_fail_at_once() -> None:
    records = FakeRecords()
    records.answers.clear()

    async def one_after_the_other(made: Lookups) -> tuple[object, float]:
        first = await ask(made, timeout=0.1)
        began = time.monotonic()
        assert await ask(made, timeout=0.09) is UNAVAILABLE
        return first, time.monotonic() - began

    with lookups(records) as made:
        first, seconds = asyncio.run(one_after_the_other(made))

        assert first is UNAVAILABLE
        assert seconds < 0.05

        records.answers.set()

        assert asyncio.run(ask(made)) == b"a"


def test_lookups_are_limited_and_cancelled_ones_are_not_made() -> None:
    records = FakeRecords()
    records.answers.clear()

    async def crowd(made: Lookups) -> list[object]:
        return await asyncio.gather(*(ask(made, f"c{number}", timeout=0.2) for number in range(20)))

    with lookups(records, waiting=3) as made:
        answers = asyncio.run(crowd(made))
        records.answers.set()

        assert asyncio.run(ask(made, "later")) == b"later"

    assert set(answers) == {UNAVAILABLE}
    assert records.asked == 2  # the first, and the last


def test_unavailable_ledger_is_reopened_after_a_pause() -> None:
    records = FakeRecords(unavailable=True)
    with capture_logs() as lines, lookups(records, pause=0.1) as made:

        async def until_it_is_back() -> list[object]:
            answers = [await ask(made), await ask(made)]
            records.unavailable = False
            while (answer := await ask(made)) is UNAVAILABLE:
                await asyncio.sleep(0.01)
            return [*answers, answer]

        answers = asyncio.run(until_it_is_back())

    assert answers == [UNAVAILABLE, UNAVAILABLE, b"a"]
    assert [line["event"] for line in lines] == ["ledger.unavailable"]


def test_failing_ledger_is_closed_and_reopened() -> None:
    records = FakeRecords()
    with lookups(records, pause=0) as made:

        async def around() -> list[object]:
            answers = [await ask(made)]
            records.unavailable = True
            answers.append(await ask(made))
            records.unavailable = False
            return [*answers, await ask(made)]

        answers = asyncio.run(around())

    assert answers == [b"a", UNAVAILABLE, b"a"]
    assert (records.opened, records.closed) == (2, 2)


def test_unexpected_exception_is_raised_to_the_caller_and_the_thread_goes_on() -> None:
    records = FakeRecords()
    with lookups(records) as made:

        async def both() -> tuple[object, object]:
            stored_event: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            made.ask(lambda records: records.command("x"), stored_event.set_result, timeout=5)
            return await stored_event, await ask(made)

        mistake, answer = asyncio.run(both())

    assert isinstance(mistake, AssertionError)
    assert answer == b"a"
