"""Repeating a send in process: tenacity behind one small surface.

Only what was certainly not submitted is repeated, for a few seconds at most; longer waits belong to the broker's
delay, where they hold no worker.
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
    """How long and how often a send is repeated in process. All times in seconds."""

    #: What the waits and the calls may take in all; 0 leaves every repeat to the broker's delay.
    in_process: float = 5.0
    #: The first wait's bound; each further one doubles it. The wait is drawn evenly below it: full jitter.
    base: float = 0.25
    #: The bound of the waits' bounds.
    max_delay: float = 2.0
    #: Attempts at most, the first included.
    attempts: int = 4
    #: Off in tests: the waits are drawn and count, but nobody sleeps.
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

        The first call has `started` then (monotonic seconds). No repeat starts after `latest`, after a stop, or once
        the policy's time is over. Where `call` raises `NoTime` there was none, and it counts as no attempt.
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

        def enough(state: RetryCallState) -> bool:
            # Without sleeping (in tests) the waits count all the same.
            now = max(self._clock.monotonic(), begun + state.idle_for)
            too_late = now + state.upcoming_sleep > last_start
            return too_late or len(answers) >= self._policy.attempts or stopped(state)

        retrying = Retrying(
            retry=retry_if_result(lambda answer: isinstance(answer, Unsent)),
            wait=self._wait,
            stop=enough,
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
        """Exponential with full jitter, no sooner than the provider asked."""
        answer = state.outcome.result() if state.outcome is not None else None
        asked = answer.retry_after if isinstance(answer, Unsent) else None
        return max(self._backoff(state), asked or 0.0)


def _no_sleep(_seconds: float) -> None:
    """Stand in for sleeping where tests would only wait for it."""
