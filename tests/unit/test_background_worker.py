"""The background worker: times of its rounds, its stop, and rounds that raise."""

from __future__ import annotations

import threading
import time
from math import inf
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from bridge.concurrency.background_worker import BackgroundWorker, StoreWorker
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONG = 3600.0


class Job(BackgroundWorker):
    """Answers each round with the test's value (seconds, an error or None), then waits for `wake`."""

    def __init__(
        self,
        *answers: float | Exception | None,
        after: float = 0.0,
        retry: float = 0.0,
        on_crash: Callable[[], None] | None = None,
    ) -> None:
        super().__init__("job", after=after, retry=retry, on_crash=on_crash)
        self.answers = list(answers)
        self.iterations = self.closed = 0
        #: Rounds that it still has to do at a stop.
        self.owed = 0
        self.held = threading.Event()
        self.held.set()

    def has_more(self) -> bool:
        return self.owed > 0

    def run_once(self) -> float | None:
        self.iterations += 1
        self.held.wait(20)
        self.owed -= self.owed > 0
        answer = self.answers.pop(0) if self.answers else inf
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def begin() -> Iterator[Callable[..., Job]]:
    """Start jobs, to be stopped at the end."""
    started: list[Job] = []

    def start(*answers: float | Exception | None, **options: object) -> Job:
        started.append(Job(*answers, **options))  # type: ignore[arg-type]
        started[-1].start()
        return started[-1]

    yield start
    for job in started:
        job.held.set()
        job.stop()


def in_a_round(begin: Callable[..., Job]) -> Job:
    """Return a job whose second round goes on until it is no longer held."""
    job = begin()
    wait_until(lambda: job.iterations == 1)
    job.held.clear()
    job.wake()
    wait_until(lambda: job.iterations == 2)
    return job


def test_next_round_starts_after_the_delay_that_the_last_one_returned(begin: Callable[..., Job]) -> None:
    job = begin(0.0, 0.01, LONG)
    wait_until(lambda: job.iterations == 3, what="three rounds")
    began = time.monotonic()
    job.stop()

    assert time.monotonic() - began < 4
    assert (job.iterations, job.closed) == (3, 1)


@pytest.mark.parametrize("answer", [LONG, inf])
def test_waking_cuts_a_wait_short(begin: Callable[..., Job], answer: float) -> None:
    job = begin(answer)
    wait_until(lambda: job.iterations == 1)
    job.wake()

    wait_until(lambda: job.iterations == 2, what="the next round")


def test_waking_during_a_round_starts_another_one(begin: Callable[..., Job]) -> None:
    job = in_a_round(begin)
    job.wake()
    job.held.set()

    wait_until(lambda: job.iterations == 3, what="a round for what came during the second one")


def test_only_a_stop_cuts_a_pause_short() -> None:
    paused: list[bool] = []

    class Pausing(Job):
        def run_once(self) -> float | None:
            self.iterations += 1
            paused.append(self.pause(LONG if self.iterations == 1 else 0.0))
            return inf

    job = Pausing()
    job.start()
    wait_until(lambda: job.iterations == 1)
    job.wake()

    assert paused == []

    job.stop()

    assert paused == [True]


def test_job_stopped_before_its_first_round_does_no_round(begin: Callable[..., Job]) -> None:
    job = begin(after=LONG)
    job.stop()

    assert (job.iterations, job.closed) == (0, 1)


def test_job_that_was_never_started_can_be_stopped() -> None:
    job = Job()
    job.stop()

    assert (job.iterations, job.closed) == (0, 0)


def test_stop_waits_for_outstanding_rounds(begin: Callable[..., Job]) -> None:
    job = begin(LONG, LONG, LONG)
    wait_until(lambda: job.iterations == 1)
    job.owed = 2
    job.stop()

    assert (job.iterations, job.closed) == (3, 1)


def test_stop_waits_until_its_deadline_at_most(begin: Callable[..., Job]) -> None:
    job = in_a_round(begin)
    job.stop(timeout=0.01)

    assert job.closed == 0


def test_round_that_raises_is_logged_and_the_next_one_runs(begin: Callable[..., Job]) -> None:
    with capture_logs() as lines:
        job = begin(TypeError("a mistake of ours"), inf)
        wait_until(lambda: job.iterations == 2, what="the next round")

    assert [(line["event"], line["thread"], line["retry_in"]) for line in lines] == [
        ("thread.crashed", "job", 0.0)
    ]


def test_stop_ends_the_wait_after_an_exception(begin: Callable[..., Job]) -> None:
    with capture_logs() as lines:
        job = begin(TypeError("a mistake of ours"), retry=LONG)
        wait_until(lambda: lines, what="the line about it")
    began = time.monotonic()
    job.stop()

    assert time.monotonic() - began < 4
    assert (job.iterations, job.closed) == (1, 1)


def test_exception_in_an_essential_job_is_reported_once_and_ends_the_thread(
    begin: Callable[..., Job],
) -> None:
    crashed: list[str] = []
    with capture_logs() as lines:
        job = begin(TypeError("a mistake of ours"), on_crash=lambda: crashed.append("it"))
        wait_until(lambda: job.closed, what="its end")

    assert (job.iterations, crashed) == (1, ["it"])
    assert [(line["event"], line["log_level"]) for line in lines] == [("thread.crashed", "critical")]


def test_job_ends_when_a_round_returns_its_end(begin: Callable[..., Job]) -> None:
    job = begin(0.0, None)

    wait_until(lambda: job.closed, what="its end")
    assert job.iterations == 2


def test_warning_that_repeats_is_logged_once_a_minute() -> None:
    job = Job()
    with capture_logs() as lines:
        for _ in range(3):
            job.warn("ledger.unavailable", reason="locked")

    assert [line["event"] for line in lines] == ["ledger.unavailable"]


class CountingStore:
    """Counts."""

    def __init__(self) -> None:
        self.opened = self.closed = 0

    def __call__(self) -> CountingStore:
        self.opened += 1
        return self

    def close(self) -> None:
        self.closed += 1


class StoreJob(StoreWorker[CountingStore]):
    """Uses its store in each round."""

    def run_once(self) -> float | None:
        assert self.store is self.store
        return inf


def test_store_is_opened_on_first_use_and_reused_until_closed() -> None:
    store = CountingStore()
    job = StoreJob("job", store)

    assert store.opened == 0

    for times in (1, 2):
        job.run_once()

        assert store.opened == times

        job.close()
        job.close()

        assert store.closed == times


def test_thread_closes_its_store_at_its_end() -> None:
    store = CountingStore()
    job = StoreJob("job", store)
    job.start()
    wait_until(lambda: store.opened == 1)
    job.stop()

    assert store.closed == 1
