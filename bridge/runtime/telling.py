"""Telling what became of a command: events, replies and dead letters to the broker, a line to the log, a count."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import structlog

from bridge.core.commands import Malformed
from bridge.core.contracts.letters import EVENT_ID, OUTCOME
from bridge.core.error_words import fields_of
from bridge.core.events import DEAD, INVALID
from bridge.core.masking import mask_number
from bridge.core.outcomes import Outcome, read_error
from bridge.flows.dead import put_back
from bridge.flows.send import tell_event, tell_invalid, tell_outcome, to_the_delay

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.core.events import Event
    from bridge.core.ledger import Told
    from bridge.flows.send import SendRules
    from bridge.ports import Clock, Outgoing, Publisher
    from bridge.runtime.jobs import Job
    from bridge.runtime.metrics import Metrics
    from bridge.runtime.tracing import CommandTracing


class Telling:
    """Publishes, and counts on each job what the broker has not confirmed. On the desk's thread, which flushes."""

    def __init__(
        self,
        publisher: Publisher,
        *,
        rules: SendRules,
        clock: Clock,
        metrics: Metrics,
        post: Callable[[Callable[[], None]], None],
        told: Callable[[Job], None],
        tracing: CommandTracing | None = None,
    ) -> None:
        """`told` runs on the desk's thread, by way of `post`, once for each message that the broker has."""
        self._publisher = publisher
        self._rules = rules
        self._clock = clock
        self._metrics = metrics
        self._post = post
        self._told = told
        self._tracing = tracing
        self._log = structlog.get_logger()

    def outcome(self, job: Job, index: int, outcome: Outcome, told: Told, *, dead: bool, fresh: bool) -> None:
        """Tell an outcome; `dead` says whether it owes a dead letter, `fresh` whether it was filed just now."""
        now = self._clock.now()
        self._publish(job, tell_outcome(job.received, index, outcome, told, self._rules, dead=dead, now=now))
        if fresh:
            self._metrics.outcomes[outcome.event_type].inc()
        # A dead letter waits for an operator.
        log = self._log.warning if fresh and outcome.event_type in DEAD else self._log.info
        error = None if outcome is Outcome.SENT else read_error(told.body)
        log(
            "submission.ended" if fresh else "submission.told_again",
            command_id=job.shown_id,
            index=index,
            outcome=outcome.value,
            event_id=told.event_id,
            destination=mask_number(job.command.destinations[index].wire),
            **({} if error is None else fields_of(error)),
        )

    def invalid(self, job: Job) -> None:
        """Tell that a delivery is no valid command, or has the id of another one."""
        self._publish(
            job, tell_invalid(job.received, self._rules, now=self._clock.now(), conflict=job.conflicting)
        )
        self._metrics.outcomes[INVALID].inc()
        parsed = job.received.parsed
        reasons = parsed.reasons if isinstance(parsed, Malformed) else ("conflict",)
        self._log.warning("command.invalid", command_id=job.shown_id, reasons=reasons)

    def put_back(self, job: Job) -> None:
        """Put a dead letter that was moved to the command queue back on its own: its outcome is published already."""
        delivery = job.received.delivery
        self._send(job, [put_back(delivery, dead_queue=self._rules.routes.dead_queue)])
        self._metrics.returned.inc()
        self._log.warning(
            "dead_letter.returned",
            command_id=job.shown_id,
            event_id=delivery.headers.get(EVENT_ID),
            hint="it was moved to the command queue, by a shovel or by hand; `bridge dead replay` sends it again",
        )

    def deferred(self, job: Job, event: Event) -> None:
        """Tell that an attempt went to the delay."""
        self._metrics.retries["delayed"].inc()
        self._publish(job, [tell_event(event, self._rules)])

    def delay(self, job: Job, generation: int) -> None:
        """Send a copy of the command to the delay, until the first of what it waits for."""
        at = min(job.waits.values())
        self._publish(
            job, [to_the_delay(job.received, generation, self._rules, at=at, now=self._clock.now())]
        )

    def _publish(self, job: Job, messages: list[Outgoing]) -> None:
        for message in messages:
            if message.routing_key == self._rules.routes.dead_queue:
                self._metrics.dead_letters[f"sms.outbound.{message.headers[OUTCOME]}"].inc()
        self._send(job, messages)

    def _send(self, job: Job, messages: list[Outgoing]) -> None:
        job.untold += len(messages)
        for message in messages:
            told: Callable[[], None] = partial(self._post, partial(self._told, job))
            if self._tracing is not None and job.span is not None:
                told = self._tracing.told(job.span, message, told)
            self._publisher.publish(message, told, soon=False)
