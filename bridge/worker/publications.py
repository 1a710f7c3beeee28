"""Publications of a delivery: events, replies, dead letters and delayed copies, published and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.domain.dead_letters import returned_letter
from bridge.domain.outcome_messages import (
    event_message,
    invalid_messages,
    outcome_messages_of,
    scheduled_copy,
)
from bridge.worker.actions import PublishCopy, PublishDeferral, PublishInvalid, PublishOutcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.messages import Outgoing
    from bridge.domain.outcome_messages import SendRules
    from bridge.ops.spans import CommandTracing
    from bridge.ports import Clock, Publisher
    from bridge.worker.actions import Publication
    from bridge.worker.execution import Execution
    from bridge.worker.report import WorkerReport


class Publications:
    """Publishes the messages of deliveries. Used on the loop's thread, which flushes."""

    def __init__(
        self,
        publisher: Publisher,
        report: WorkerReport,
        rules: SendRules,
        clock: Clock,
        tracing: CommandTracing | None,
    ) -> None:
        self._publisher = publisher
        self._report = report
        self._rules = rules
        self._clock = clock
        #: None if tracing is disabled.
        self.tracing = tracing
        #: Whether a message was published since the last flush.
        self.unflushed = False

    def publish(self, execution: Execution, action: Publication, confirmed: Callable[[], None]) -> None:
        """Publish; `confirmed` is called on any thread, once for each message that the broker has confirmed."""
        messages = self._messages(execution, action)
        execution.unconfirmed += len(messages)
        for message in messages:
            called = confirmed
            if self.tracing is not None and execution.span is not None:
                called = self.tracing.confirmed(execution.span, message, confirmed)
            self._publisher.publish(message, called, soon=False)
        self.unflushed = True

    def flush(self) -> None:
        """Send all published messages to the broker."""
        self.unflushed = False
        self._publisher.flush()

    def trace(self, execution: Execution) -> None:
        """Begin the span of a delivery, if `tracing` is enabled."""
        if self.tracing is not None:
            execution.trace(self.tracing.received(execution.flow.received))

    def _messages(self, execution: Execution, action: Publication) -> list[Outgoing]:
        received, rules, now = execution.flow.received, self._rules, self._clock.now()
        match action:
            case PublishOutcome(index, outcome, stored_event, dead):
                messages = outcome_messages_of(
                    received, index, outcome, stored_event, rules, dead=dead, now=now
                )
                self._report.outcome(received, action, messages)
            case PublishDeferral(event):
                messages = [event_message(event, rules)]
                self._report.deferred()
            case PublishCopy(version, at):
                messages = [scheduled_copy(received, version, rules, at=at, now=now)]
            case PublishInvalid(conflict):
                messages = invalid_messages(received, rules, now=now, conflict=conflict)
                self._report.invalid(received, messages)
            case _:
                messages = [returned_letter(received.delivery, dead_queue=rules.names.dead_queue)]
                self._report.returned(received)
        return messages
