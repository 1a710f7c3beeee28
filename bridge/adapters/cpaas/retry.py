"""In-process retries of a send, with tenacity: exponential back-off with full jitter.

Only calls that certainly submitted nothing are repeated, for a few seconds at most. Longer waits take place in the
broker's delay queues, where they occupy no worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_result,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from bridge.adapters.cpaas.calls import NoTime
from bridge.domain.answers import Unsent
from bridge.domain.submissions import Attempted

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from bridge.domain.answers import Answer
    from bridge.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The limits of in-process retries. All times in seconds."""

    #: The time for all waits and calls; 0 leaves all retries to the delay queues.
    in_process: float = 5.0
    #: The upper bound of the first wait, doubled for each further one. The wait is random below it: full jitter.
    base: float = 0.25
    #: The largest upper bound of a wait.
    max_delay: float = 2.0
    #: The largest number of attempts, including the first one.
    attempts: int = 4
    #: False in tests: the waits count without sleeping.
    sleeps: bool = True


class Repeater:
    """Repeats calls as the policy allows."""

    def __init__(self, policy: RetryPolicy, clock: Clock, stopping: threading.Event) -> None:
        self._policy = policy
        self._clock = clock
        self._stopping = stopping
        self._backoff = wait_random_exponential(multiplier=policy.base, max=policy.max_delay)
        self._sleep = sleep_using_event(stopping) if policy.sleeps else _no_sleep

    def repeat(
        self, first: Unsent, call: Callable[[], Answer], *, started: float, latest: float
    ) -> Attempted:
        """Repeat a call that was not sent until the answer is anything but `Unsent`; return the last answer.

        The first call began at `started` (monotonic seconds). No call is repeated after `latest`, after a stop, or
        after the policy's time. If `call` raises `NoTime`, no attempt was made.
        """
        last_start = min(started + self._policy.in_process, latest)
        begun = self._clock.monotonic()
        answers: list[Answer] = []

        def attempt() -> Answer:
            if not answers:
                answers.append(first)
            elif not self._stopping.is_set():
                answers.append(call())
            return answers[-1]

        stopped = stop_when_event_set(self._stopping)

        def is_over(state: RetryCallState) -> bool:
            # Without sleeping (in tests) the waits count all the same.
            now = max(self._clock.monotonic(), begun + state.idle_for)
            too_late = now + state.upcoming_sleep > last_start
            return too_late or len(answers) >= self._policy.attempts or stopped(state)

        retrying = Retrying(
            retry=retry_if_result(lambda answer: isinstance(answer, Unsent)),
            wait=self._wait,
            stop=is_over,
            sleep=self._sleep,
            retry_error_callback=lambda _: answers[-1],
        )
        try:
            answer = retrying(attempt)
        except NoTime:
            answer = answers[-1]
        repeated = tuple(one.error for one in answers[:-1] if isinstance(one, Unsent))
        return Attempted(answer=answer, attempts=len(answers), repeated=repeated)

    def _wait(self, state: RetryCallState) -> float:
        """Return the wait: exponential with full jitter, and at least the provider's Retry-After."""
        answer = state.outcome.result() if state.outcome is not None else None
        asked = answer.retry_after if isinstance(answer, Unsent) else None
        return max(self._backoff(state), asked or 0.0)


def _no_sleep(_seconds: float) -> None:
    """Replace sleeping in tests."""
