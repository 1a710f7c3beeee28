"""The executor: carries out the actions of the notifications that are under way, many at once.

`bridge.ingest.notification` has the order of a notification. Here each action is done, or begun on another thread, and
the notification is resumed with what came of it. All of it runs on the event loop of the HTTP server.

A request waits for so long and no longer, but its event stays under way until its result is known: a confirm that comes
after the 503 is remembered all the same, and a repeat that comes before it waits with the first.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, assert_never

from bridge.concurrency.event_loop import Deadlines, LoopCaller
from bridge.domain.errors import InvalidNotification
from bridge.ingest.actions import (
    CheckSubscriptions,
    FindOwner,
    FindRepeat,
    MakeDurable,
    RecordEvidence,
    RejectBody,
    Remember,
    Respond,
    WaitForRecord,
)
from bridge.ingest.execution import NotificationRun
from bridge.ingest.memory import LATER, Question
from bridge.ingest.notification import NotificationFlow
from bridge.ops import spans
from bridge.ports.http_results import NotificationResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.domain.events import Event
    from bridge.ingest.actions import EventSteps, NotificationSteps, Preparation
    from bridge.ingest.execution import EventMemory, EventPublisher, NotificationSettings
    from bridge.ingest.memory import Reply
    from bridge.ingest.report import NotificationReport
    from bridge.ports import Clock, Span
    from bridge.ports.http_results import NotificationAnswered


class NotificationExecutor:
    """Takes notifications, and answers for them."""

    def __init__(
        self,
        settings: NotificationSettings,
        memory: EventMemory,
        publisher: EventPublisher,
        report: NotificationReport,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._memory = memory
        self._publisher = publisher
        self._report = report
        self._clock = clock
        self._caller: LoopCaller | None = None
        #: The first that has each id.
        self._in_flight: dict[str, NotificationRun] = {}
        self._deadlines: Deadlines[NotificationRun] = Deadlines(self._overdue)

    # --- from outside --------------------------------------------------------------------------------------------

    def take(self, body: bytes, answered: NotificationAnswered) -> None:
        """Make an event of a notification; call `answered` once it is durable or the request's time is over.

        A notification that is an event already does not become a second one. One that was not durable in time may still
        become an event: when the provider repeats the notification, that event has the same id.
        """
        span = None if self._settings.traces is None else self._settings.traces.arrived()
        traceparent = None if span is None else span.traceparent
        flow = NotificationFlow()
        steps = flow.receive(body, self._settings.rules, now=self._clock.now(), traceparent=traceparent)
        self._begin(flow, steps, answered, len(body), span)

    async def recover(self, event: Event) -> NotificationResult:
        """Publish what no webhook brought, as if it had come."""
        answer: asyncio.Future[NotificationResult | Exception] = asyncio.get_running_loop().create_future()

        def answered(result: NotificationResult | Exception) -> None:
            if not answer.done():
                answer.set_result(result)

        flow = NotificationFlow(event)
        self._begin(flow, flow.publish(), answered)
        result = await answer
        if isinstance(result, Exception):
            raise result
        if result is NotificationResult.PUBLISHED:
            self._report.recovered(event)
        return result

    # --- the actions ---------------------------------------------------------------------------------------------

    def _begin(
        self,
        flow: NotificationFlow,
        steps: NotificationSteps | EventSteps,
        answered: Callable[[Any], None],
        size: int | None = None,
        span: Span | None = None,
    ) -> None:
        caller = self._caller
        # The loop is not asked for each time: before Python 3.12 that is a system call.
        if caller is None or not caller.loop.is_running():
            caller = self._caller = LoopCaller(asyncio.get_running_loop())
        started, until = self._clock.monotonic(), caller.loop.time() + self._settings.confirm_timeout
        self._resume(NotificationRun(flow, steps, answered, caller, started, until, size, span), None)

    def _resume(self, run: NotificationRun, result: object) -> None:
        """Go on with a notification, up to an action whose result comes later."""
        try:
            self._carry_out(run, result)
        except StopIteration:
            for id_ in run.ids:
                self._in_flight.pop(id_, None)
            if run.others:
                self._share(run)
        except Exception as mistake:  # noqa: BLE001 - it is handed on
            self._fail(run, mistake)

    def _carry_out(self, run: NotificationRun, result: object) -> None:
        while result is not LATER:
            action = run.steps.send(result)
            result = None
            match action:
                case FindRepeat():
                    result = self._find_repeat(run, action)
                case MakeDurable():
                    result, run.pending = LATER, action
                    settled: Callable[[bool], None] = partial(self._come_back, run, action)
                    if run.span is not None:
                        settled = self._traced(run.span, action, settled)
                    # Called back on any thread, at any time, also after this server is gone.
                    self._publisher.make_durable(action.event, partial(run.caller.call, settled), run.caller)
                case Respond():
                    run.result = action.result
                    self._answer(run, action.result)
                case Remember():
                    self._memory.note(action.ids, action.also, run.caller)
                case _:
                    result = self._prepare(run, action)

    def _prepare(self, run: NotificationRun, action: Preparation) -> object:
        """Carry out what not every notification asks for, before it is looked for a repeat."""
        match action:
            case RejectBody():
                self._report.rejected(action.error, run.size)
                self._answer(run, action.error)
            case RecordEvidence():
                if self._settings.on_evidence is not None:
                    self._settings.on_evidence(action.evidence)
            case CheckSubscriptions():
                if self._settings.on_cancelled is not None:
                    self._settings.on_cancelled(action.event_id)
            case FindOwner():
                return self._ask(run, action, "owner", (action.message_id,))
            case WaitForRecord():
                return self._wait(run, action)
            case _:
                assert_never(action)
        return None

    def _come_back(self, run: NotificationRun, action: object, result: object) -> None:
        """Go on with the result of an action; only the first one counts, and none that was given up."""
        if run.pending is action:
            run.pending = None
            self._resume(run, result)

    def _find_repeat(self, run: NotificationRun, action: FindRepeat) -> object:
        """Wait with the same event, where that is under way; else ask the ledger."""
        for id_ in action.ids:
            if (first := self._in_flight.get(id_)) is not None:
                first.others[run] = None
                run.first, run.pending = first, action
                self._deadlines.set(run, run.until)
                return LATER
        if len(self._in_flight) >= self._settings.limit:
            return NotificationResult.REFUSED
        run.ids = action.ids
        for id_ in action.ids:
            self._in_flight[id_] = run
        reply = self._ask(run, action, "known", action.ids)
        return self._not_deduplicated() if reply is None else reply

    def _ask(
        self, run: NotificationRun, action: object, kind: Literal["known", "owner"], ids: Sequence[str]
    ) -> object:
        loop = run.caller.loop
        run.asked_until = at = loop.time() + self._memory.timeout
        # One deadline: the ledger's, and after that the request's.
        self._deadlines.set(run, at if run.answered is None else min(at, run.until))
        run.pending = action
        reply = self._memory.ask(Question(kind, ids, partial(self._ledger_answers, run, action), run.caller))
        if reply is not LATER:
            run.pending = None
        return reply

    def _ledger_answers(self, run: NotificationRun, action: object, reply: Reply) -> None:
        if run.pending is action:
            is_not_deduplicated = reply is None and isinstance(action, FindRepeat)
            self._come_back(run, action, self._not_deduplicated() if is_not_deduplicated else reply)

    def _not_deduplicated(self) -> tuple[()]:
        """Go on without the ledger's word that the event is new."""
        self._report.not_deduplicated()
        return ()

    def _traced(
        self, span: Span, action: MakeDurable, settled: Callable[[bool], None]
    ) -> Callable[[bool], None]:
        traces = self._settings.traces
        return settled if traces is None else traces.published(span, action.event.type, settled)

    def _wait(self, run: NotificationRun, action: WaitForRecord) -> object:
        loop = run.caller.loop
        left = max(0.0, run.until - loop.time())
        run.pending = action
        self._deadlines.set(run, run.until)
        loop.call_later(min(action.seconds, left * action.share), self._come_back, run, action, None)
        return LATER

    # --- the end -------------------------------------------------------------------------------------------------

    def _overdue(self, run: NotificationRun) -> None:
        """Answer for the request whose time is over, and go on without the ledger where that does not answer."""
        now, action = run.caller.loop.time(), run.pending
        if run.first is not None:
            del run.first.others[run]
            self._come_back(run, action, NotificationResult.REFUSED)
            return
        if now >= run.until:
            self._answer(run, NotificationResult.REFUSED)
        else:
            self._deadlines.set(run, run.until)
        if isinstance(action, FindOwner | FindRepeat):
            if now >= run.asked_until:
                self._memory.time_out()
                self._ledger_answers(run, action, None)
            else:
                self._deadlines.set(run, run.asked_until)

    def _share(self, run: NotificationRun) -> None:
        """Let those go on that waited with it."""
        for other in tuple(run.others):
            other.first = None
            if isinstance(run.result, Exception):
                self._fail(other, run.result)
            else:
                is_new = run.result is NotificationResult.PUBLISHED
                result = NotificationResult.REPEATED if is_new else run.result
                self._come_back(other, other.pending, result)

    def _fail(self, run: NotificationRun, mistake: Exception) -> None:
        """Answer that a mistake of ours came between; the event may come again."""
        run.result, run.pending = mistake, None
        for id_ in run.ids:
            self._in_flight.pop(id_, None)
        self._answer(run, mistake)
        self._share(run)

    def _answer(self, run: NotificationRun, result: NotificationResult | Exception) -> None:
        """Answer once, and count it and write its line after that: the provider need not wait for these."""
        answered, run.answered = run.answered, None
        if answered is None:
            return
        elapsed = self._clock.monotonic() - run.started
        answered(result)
        self._deadlines.clear(run)
        if run.span is not None:
            spans.answered(run.span, _status(result))
        if isinstance(result, NotificationResult) and run.size is not None:
            assert run.flow.event is not None  # noqa: S101 - without one it is rejected
            self._report.answered(run.flow.event, result, elapsed)


def _status(result: NotificationResult | Exception) -> int:
    """Return the HTTP status that a result is answered with."""
    if isinstance(result, NotificationResult):
        return 503 if result is NotificationResult.REFUSED else 204
    return 400 if isinstance(result, InvalidNotification) else 500
