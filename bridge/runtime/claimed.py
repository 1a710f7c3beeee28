"""What follows a claim that was granted: the provider is called, or its history read, and what came of it is filed.

call ─▶ answered ─▶ judge ─┐
look ─▶ looked ────────────┴─▶ file
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

import structlog

from bridge.core.answers import Accepted, Ambiguous, Blocked, Refused, Unsent
from bridge.core.decide import Judgement, judge
from bridge.core.error_words import fields_of
from bridge.core.evidence import Evidence
from bridge.core.ledger import File, Filing, Resolve
from bridge.core.likeness import text_key
from bridge.core.outcomes import Result
from bridge.runtime import failpoints
from bridge.runtime.entrance import refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.core.answers import Answer
    from bridge.core.evidence import Reading
    from bridge.core.ledger import Call, Look
    from bridge.flows.send import SendRules
    from bridge.ports import Attempted
    from bridge.runtime.callers import Callers
    from bridge.runtime.desk import Desk
    from bridge.runtime.entrance import Entrance
    from bridge.runtime.jobs import Job
    from bridge.runtime.metrics import Metrics
    from bridge.runtime.steady import SteadyClock


class Claimed:
    """A claim that the ledger was asked for: of which submission, under which name, and how long calls may run."""

    __slots__ = ("index", "job", "owner", "until")

    def __init__(self, job: Job, index: int, owner: str, until: float) -> None:
        self.job = job
        self.index = index
        self.owner = owner
        #: `Clock.monotonic` seconds.
        self.until = until


class Course:
    """Carries out what claims allow. On the desk's thread; what blocks is the callers' to do."""

    def __init__(
        self,
        desk: Desk,
        callers: Callers,
        entrance: Entrance,
        *,
        rules: SendRules,
        clock: SteadyClock,
        metrics: Metrics,
        filed: Callable[[Claimed, object], None],
    ) -> None:
        """`filed` is given what the ledger made of what came of a claim; None where that was no longer ours."""
        self._desk = desk
        self._callers = callers
        self._entrance = entrance
        self._rules = rules
        self._clock = clock
        self._metrics = metrics
        self._filed = filed
        self._log = structlog.get_logger()

    def call(self, claimed: Claimed, call: Call) -> None:
        """Call the provider, and file its answer."""
        failpoints.reach("claimed")
        job = claimed.job
        now = self._clock.now()
        due_at = job.due_at(now)
        if call.attempts == 0 and due_at is not None:
            self._metrics.age_seconds.observe(max(0.0, now - due_at))
        started = self._clock.monotonic()
        self._callers.send(
            job.submission(claimed.index),
            until=claimed.until,
            answered=lambda attempted: self._desk.post(
                partial(self._on_answered, claimed, call, attempted, self._clock.monotonic() - started)
            ),
        )

    def look(self, claimed: Claimed, look: Look) -> None:
        """Read the provider's history, and file what it shows."""
        self._callers.look(
            claimed.job.sought(claimed.index),
            window=look.window,
            until=claimed.until,
            looked=lambda reading: self._desk.post(partial(self._on_looked, claimed, look, reading)),
        )

    def _on_answered(self, claimed: Claimed, call: Call, attempted: Attempted, seconds: float) -> None:
        failpoints.reach("answered")
        self._entrance.leave()
        job, index = claimed.job, claimed.index
        self._hear(claimed, call, attempted, seconds)
        now = self._clock.now()
        file = File(
            command=job.command,
            command_id=job.command_id,
            index=index,
            owner=claimed.owner,
            filing=self._judge(job, index, call, attempted),
            now=now,
            style=self._rules.style,
            evidence=_evidence(job, index, attempted.answer, now),
            receipts=self._rules.ledger.receipts,
            traceparent=job.received.traceparent,
        )
        self._desk.change(file, partial(self._filed, claimed))

    def _hear(self, claimed: Claimed, call: Call, attempted: Attempted, seconds: float) -> None:
        """Count what was done, and learn from it how the provider is."""
        if not attempted.attempts:
            self._log.warning("call.missed", command_id=claimed.job.shown_id, index=claimed.index)
            return
        answer, repeated = attempted.answer, attempted.attempts - 1
        self._metrics.call_seconds.observe(seconds)
        self._metrics.attempts[type(answer).__name__.lower()].inc()
        if repeated:
            # Only what was certainly not submitted is repeated by the gateway itself.
            self._metrics.attempts["unsent"].inc(repeated)
            self._metrics.retries["at_once"].inc(repeated)
        self._log_failures(claimed, call, attempted)
        if isinstance(answer, Blocked):
            job, why = claimed.job, refusal(answer.error)
            self._log.warning("call.blocked", command_id=job.shown_id, index=claimed.index, reason=why)
        self._entrance.heard(answer)

    def _log_failures(self, claimed: Claimed, call: Call, attempted: Attempted) -> None:
        """Write a line for each attempt that did not go well, with its reason."""
        answer = attempted.answer
        failures: list[Refused | Unsent | Ambiguous] = [Unsent(error=error) for error in attempted.repeated]
        if isinstance(answer, Refused | Unsent | Ambiguous):
            failures.append(answer)
        for number, failure in enumerate(failures, call.attempts + 1):
            log = self._log.warning if isinstance(failure, Ambiguous) else self._log.info
            log(
                "attempt.failed",
                command_id=claimed.job.shown_id,
                index=claimed.index,
                attempt=number,
                answer=type(failure).__name__.lower(),
                **fields_of(failure.error),
            )

    def _judge(self, job: Job, index: int, call: Call, attempted: Attempted) -> Filing:
        now = self._clock.now()
        if not attempted.attempts:
            # No call was made at all: its lease is nearly over, or it has expired. Its next claim finds out.
            return Filing(outcome=None, result=Result(attempts=call.attempts), retry_at=now)
        judgement = Judgement(
            command=job.command,
            index=index,
            answer=attempted.answer,
            attempts=call.attempts + attempted.attempts,
            attempts_before=call.attempts,
            first_attempt_at=call.first_attempt_at,
            now=now,
            chance=random.random(),  # noqa: S311 - jitter
            traceparent=job.received.traceparent,
        )
        return judge(judgement, retry=self._rules.ledger.retry, style=self._rules.style)

    def _on_looked(self, claimed: Claimed, look: Look, reading: Reading | None) -> None:
        failpoints.reach("looked")
        self._entrance.leave()
        job = claimed.job
        resolve = Resolve(
            command=job.command,
            command_id=job.command_id,
            index=claimed.index,
            owner=claimed.owner,
            reading=reading,
            since=look.since,
            now=self._clock.now(),
            style=self._rules.style,
            rules=self._rules.ledger,
            traceparent=job.received.traceparent,
        )
        self._desk.change(resolve, partial(self._filed, claimed))


def _evidence(job: Job, index: int, answer: Answer, now: float) -> Evidence | None:
    """Return what an answer proves, for whoever has taken the submission over meanwhile."""
    if not isinstance(answer, Accepted) or answer.message_id is None:
        return None
    return Evidence(
        message_id=answer.message_id,
        sender_address=answer.sender_address,
        destination_address=job.command.destinations[index].wire,
        text_key=text_key(job.command.message),
        sent_at=now,
        status=answer.delivery_status,
    )
