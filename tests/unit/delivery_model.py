"""A model of broker, workers, provider and time, in which a test chooses each step of a delivery.

The broker redelivers unacknowledged messages and delivers copies late. Workers are killed at any step, or lose their
connection and continue as zombies. The provider accepts a call or not, responds or not, and shows accepted messages at
any time. The order of a delivery (`bridge.worker.delivery`), the ledger's rules and the store are the shipped ones; the
model executes the actions. It checks the invariants after each step, and the rest in `settle`.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from bridge.app.command_client import send_rules
from bridge.domain.answers import Accepted, Ambiguous, Answer, Blocked, ProviderError, Refused, Unsent
from bridge.domain.command_parser import parse_command
from bridge.domain.commands import CommandRules, SendSms
from bridge.domain.contracts.commands import REPLAY, RESEND
from bridge.domain.deliveries import TOKEN
from bridge.domain.events import DEAD
from bridge.domain.evidence import Evidence, HistoryExtract
from bridge.domain.ledger import ClockSet, HasOutcome, RecordedResult, StoredEvent, SubmissionId, restored
from bridge.domain.match_keys import match_key, text_key
from bridge.domain.messages import Delivery
from bridge.domain.outcome_messages import scheduled_copy
from bridge.domain.outcomes import EventFormat, Outcome
from bridge.domain.rules import LedgerRules, LimitRules, ReconcileRules, RetryRules
from bridge.domain.submissions import Attempted
from bridge.settings import Settings
from bridge.simulator.alterations import alter
from bridge.worker.actions import (
    Acknowledge,
    Answered,
    AwaitConfirms,
    BeginVersion,
    Claimed,
    ClaimSubmission,
    Fork,
    HistoryRead,
    Joined,
    Pause,
    PublishCopy,
    PublishDeferral,
    PublishInvalid,
    PublishOutcome,
    ReadHistory,
    Recorded,
    RecordResult,
    Requeue,
    ReturnDeadLetter,
    SendSubmission,
    WaitHere,
)
from bridge.worker.delivery import CommandDelivery
from tests.fakes.ledger import MemoryLedger
from tests.harness.contract_check import event_of
from tests.unit.altered_texts import KNOWN, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal

    from bridge.domain.ledger import Change, Verdict
    from bridge.worker.actions import Action, Steps

START = 1_800_000_000.0
LEASE = 30.0
SETTLE = 60.0
SKEW = 120.0
#: Seconds until the provider shows all accepted messages.
LONGEST_LAG = 161.0
NUMBER = "+16131234567"
STYLE = EventFormat(source="/sms-bridge/sms")
ERROR = ProviderError(name="http")
#: Actions that a worker does in the same iteration of its loop.
AT_ONCE = (PublishOutcome, PublishDeferral, PublishInvalid, PublishCopy, ReturnDeadLetter)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The provider's reaction to a call."""

    #: Whether it accepts, `after` seconds; its history shows the message `lag` seconds later.
    accepts: bool = False
    after: float = 0.0
    lag: float = 0.0
    #: Its response; None for an acceptance with the message's id.
    answer: Answer | None = None


AMBIGUOUS = Ambiguous(error=ERROR)
NAMELESS = Accepted(message_id=None, sender_address=None, delivery_status=None, http_status=201)
SENT = Plan(accepts=True)
UNSENT = Plan(answer=Unsent(error=ERROR))
LOST = Plan(accepts=True, answer=AMBIGUOUS)
PLANS = [
    SENT,
    UNSENT,
    LOST,
    Plan(answer=AMBIGUOUS),
    Plan(accepts=True, lag=SETTLE, answer=AMBIGUOUS),
    Plan(accepts=True, after=40.0, lag=20.0, answer=AMBIGUOUS),
    Plan(accepts=True, lag=20.0),
    Plan(accepts=True, answer=NAMELESS),
    Plan(accepts=True, lag=SETTLE, answer=NAMELESS),
    Plan(answer=Unsent(error=ERROR, retry_after=20.0, throttled=True)),
    Plan(answer=Refused(error=ERROR)),
    Plan(answer=Blocked(error=ERROR)),
]
#: A fault from which only `on_absent: park` protects.
TOO_LATE = Plan(accepts=True, after=SETTLE, lag=100.0, answer=AMBIGUOUS)

History: TypeAlias = "Literal['whole', 'cut off', 'down']"


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """A message that the provider has."""

    submission_id: SubmissionId
    evidence: Evidence
    shown_at: float


@dataclass
class Message:
    """A command's message in the broker: in the queue, or in the delay queues until `due`."""

    command_id: str
    headers: Mapping[str, object] = field(default_factory=dict)
    redelivered: bool = False
    due: float = 0.0

    @property
    def version(self) -> int:
        return int(str(self.headers.get(TOKEN, 0)))


@dataclass
class Branch:
    """One generator of a delivery: the main one, or that of a submission."""

    steps: Steps[None]
    #: Its next action; None once it has ended, or while its branches run.
    action: Action | None = None
    #: The end of its lease.
    until: float = 0.0


@dataclass
class Job:
    """A delivery that a worker processes. The worker may be killed between any two actions."""

    message: Message
    flow: CommandDelivery
    main: Branch
    #: The branches that have not been joined.
    branches: list[Branch] = field(default_factory=list)
    #: Whether its submissions alternate, or the second begins once the first has ended.
    in_turns: bool = False
    #: Whether the broker still has the delivery as this worker's, and whether the worker knows that it does not.
    connected: bool = True
    lost: bool = False
    #: Messages that are published and not confirmed.
    unconfirmed: list[Callable[[], None]] = field(default_factory=list)

    @property
    def next(self) -> Branch:
        """The branch of the next step."""
        return self.branches[0] if self.branches else self.main

    def confirm(self, count: int | None = None) -> None:
        """Let the broker accept published messages, oldest first; all of them without `count`."""
        for publish in self.unconfirmed[:count]:
            publish()
        del self.unconfirmed[:count]


class DeliveryModel:
    """Two commands with one text to one number, the first also to another number, and many other texts to it."""

    def __init__(
        self,
        *,
        twins: bool = False,
        times: bool = False,
        park: bool = False,
        limits: bool = False,
        max_age: float = 400.0,
        alteration: str | None = None,
        crowd: int = 0,
    ) -> None:
        #: How the provider alters texts before it shows them; see `bridge.simulator.alterations`.
        self.alteration = alteration
        #: Messages of other senders for the same account.
        self.unknown_clients: list[Evidence] = []
        #: Real time, and the seconds by which the workers' clock is ahead.
        self.now = START
        self.ahead = 0.0
        self.rules = LedgerRules(
            lease=LEASE,
            poison_after=3,
            retry=RetryRules(max_age=max_age),
            reconcile=ReconcileRules(settle=SETTLE, skew=SKEW, on_absent="park" if park else "resend"),
            limits=LimitRules(account_per_second=0.5, sender_per_second=0.25) if limits else LimitRules(),
        )
        self.send_rules = replace(send_rules(Settings()), ledger=self.rules, style=STYLE)
        self.ledger = MemoryLedger()
        self.queue: list[Message] = []
        self.delayed: list[Message] = []
        self.jobs: list[Job] = []
        self.owners = 0
        #: Whether a worker has capacity for submissions that wait briefly for a rate limit.
        self.has_capacity = True
        self.plans: list[Plan] = []
        self.history: History = "whole"
        self.accepted: list[Acceptance] = []
        #: Recorded and published outcomes, by event id.
        self.outcomes: dict[str, tuple[SubmissionId, Outcome, StoredEvent]] = {}
        self.published: dict[str, StoredEvent] = {}
        #: Outcomes that a restore of the ledger has lost, by event id.
        self.lost: set[str] = set()
        #: The submission that published each message id.
        self.owned: dict[str, SubmissionId] = {}
        #: Number of resends of unknown submissions that an operator requested.
        self.forced: Counter[bytes] = Counter()
        text = (KNOWN | UNKNOWN)[alteration] if alteration else "hi"
        self.bodies = {"order-17": _body("order-17", [NUMBER, "+16131234568"], text, times=times)}
        if twins:
            self.bodies["order-18"] = _body("order-18", [NUMBER], text, times=times)
        for number in range(crowd):
            id_ = f"crowd-{number}"
            self.bodies[id_] = _body(id_, [NUMBER], f"{text} and {number} more", times=times)
        self.commands = {id_: _command(body) for id_, body in self.bodies.items()}
        for command_id in self.commands:
            self.publish(command_id)
        self.save()

    # --- possible events -----------------------------------------------------------------------------------------

    def publish(self, command_id: str, headers: Mapping[str, object] | None = None) -> None:
        self.queue.append(Message(command_id=command_id, headers=headers or {}))

    @property
    def dead_letters(self) -> list[str]:
        return [id_ for id_ in self.published if self.outcomes[id_][1].event_type in DEAD]

    def send_back(self, event_id: str, *, resend: bool) -> None:
        submission_id, outcome, _ = self.outcomes[event_id]
        # A restored ledger may record another outcome for it, `unknown`.
        if resend and (outcome is Outcome.UNKNOWN or self.ledger.restored is not None):
            self.forced[self.key(submission_id)] += 1
        self.publish(submission_id.command_id, {REPLAY: event_id, RESEND: "true" if resend else "false"})

    def take(self, message: Message, *, in_turns: bool = False) -> Job:
        delivery = Delivery(
            body=self.bodies[message.command_id],
            tag=(0, 0),
            redelivered=message.redelivered,
            headers=message.headers,
        )
        flow = CommandDelivery(delivery, self.send_rules, now=START, new_id=str)
        job = Job(message=message, flow=flow, main=Branch(flow.steps()), in_turns=in_turns)
        self._resume(job, job.main, None)
        self.jobs.append(job)
        return job

    def advance(self, job: Job, steps: int = 100) -> None:
        """Execute that number of its actions."""
        for _ in range(steps):
            if job.main.action is None and not job.branches:
                break
            self._step(job)

    def kill(self, job: Job, *, reached: int = 0) -> None:
        """End its worker; the broker has received that number of its unconfirmed messages."""
        job.confirm(reached)
        self.jobs.remove(job)
        if job.connected:
            self._requeue(job.message)

    def cut_off(self, job: Job, *, noticed: bool = True) -> None:
        """Let the broker requeue the delivery; `noticed` says whether the worker knows."""
        if job.connected:
            job.connected = False
            job.lost = noticed
            self._requeue(job.message)

    @property
    def clock(self) -> float:
        """The time on the workers' clock."""
        return self.now + self.ahead

    def set_clock(self, ahead: float) -> None:
        """Set the workers' clock, and let one of them detect it."""
        if ahead != self.ahead:
            for job in self.jobs:
                job.flow.clock_set(ahead - self.ahead)
                for branch in job.branches:
                    if isinstance(branch.action, WaitHere):
                        branch.action = WaitHere(branch.action.until + ahead - self.ahead)
            self.ahead = ahead
            self.ledger.apply([ClockSet(now=self.clock, rules=self.rules)])

    def save(self) -> None:
        """Save the ledger as it is now, like a standby that receives no more changes."""
        ledger = self.ledger
        self._saved = (
            dict(ledger._records),
            dict(ledger._observed_messages),
            dict(ledger._buckets),
            ledger.restored,
        )

    def restore(self) -> None:
        """Restore the saved ledger. The workers end, and all messages show by the time it is back."""
        for job in list(self.jobs):
            self.kill(job)
        self.now += LONGEST_LAG
        records, observed_messages, buckets, before = self._saved
        ledger = self.ledger
        ledger._records, ledger._buckets = dict(records), dict(buckets)
        ledger._observed_messages.clear()
        ledger._observed_messages.update(observed_messages)
        ledger.restored = restored(
            self.clock,
            last_commit_at=max((record.updated_at for record in records.values()), default=None),
            max_age=max(self.rules.retry.max_age, self.rules.restored_lookup),
            before=before,
        )
        self._forget_outcomes()

    def _forget_outcomes(self) -> None:
        """Allow other bytes for outcomes that the ledger has lost; those not published count as never recorded."""
        kept = {
            submission.stored_event.event_id
            for record in self.ledger._records.values()
            for submission in record.submissions.values()
            if submission.stored_event is not None
        }
        self.lost |= self.outcomes.keys() - kept
        self.outcomes = {
            id_: known for id_, known in self.outcomes.items() if id_ in self.published or id_ in kept
        }
        submission_ids = {self.outcomes[id_][0] for id_ in self.lost & self.outcomes.keys()}
        self.owned = {
            id_: submission_id
            for id_, submission_id in self.owned.items()
            if submission_id not in submission_ids
        }

    @property
    def due(self) -> list[Message]:
        return [message for message in self.delayed if message.due <= self.now]

    def bring(self, message: Message) -> None:
        self.delayed.remove(message)
        self.queue.append(message)

    def settle(self) -> None:
        """Finish everything: zombies die, every worker ends its job, every copy arrives. Then check the invariants."""
        for job in [job for job in self.jobs if not job.connected]:
            self.kill(job)
        self.plans = []
        self.history = "whole"
        self.set_clock(0.0)
        self.settle_plans()
        self._judge()

    def settle_plans(self) -> None:
        """Let time pass until no work is left; the next calls follow the plan."""
        for _ in range(2000):
            while self.queue:
                self.take(self.queue.pop(0))
            for job in list(self.jobs):
                self.advance(job)
            if not self.delayed and not self.queue and not self.jobs:
                break
            # By a day or more, when a copy was made while the clock was set.
            self.now = max(self.now + 3.0, min((message.due for message in self.delayed), default=0.0))
            for message in self.due:
                self.bring(message)

        assert not self.queue, "a message is redelivered forever"
        assert not self.delayed, "a copy is delayed forever"
        assert not self.jobs, "a job never ends"

    # --- the broker ----------------------------------------------------------------------------------------------

    def _requeue(self, message: Message) -> None:
        self.queue.append(Message(command_id=message.command_id, headers=message.headers, redelivered=True))

    # --- the provider --------------------------------------------------------------------------------------------

    def _call(self, submission_id: SubmissionId) -> Answer:
        plan = self.plans.pop() if self.plans else SENT
        message_id = f"m-{len(self.accepted)}"
        if plan.accepts:
            sent_at = self.now + plan.after
            evidence = self._evidence(submission_id, message_id, sent_at)
            self.accepted.append(
                Acceptance(submission_id=submission_id, evidence=evidence, shown_at=sent_at + plan.lag)
            )
            self._not_too_many(submission_id)
        if plan.answer is not None:
            return plan.answer
        return Accepted(
            message_id=message_id, sender_address="+16139998877", delivery_status=None, http_status=201
        )

    def _look_up(self, number: str) -> HistoryExtract | None:
        if self.history == "down" or abs(self.ahead) > SKEW:
            return None
        shown = [self._shown(accepted) for accepted in self.accepted if accepted.shown_at <= self.now]
        shown += self.unknown_clients
        return HistoryExtract(
            messages=tuple(message for message in shown if message.destination_address == number),
            total=len(shown),
            complete=self.history == "whole",
            read_at=self.clock,
        )

    def _shown(self, accepted: Acceptance) -> Evidence:
        text = alter(self.commands[accepted.submission_id.command_id].message, self.alteration)
        return replace(accepted.evidence, text=text, text_key=text_key(text))

    def another_sender_sends(self, text: str) -> None:
        """Let another sender send a message from the account's number to the number of most commands."""
        self.unknown_clients.append(
            Evidence(
                message_id=f"s-{len(self.unknown_clients)}",
                sender_address="+16139998877",
                destination_address=NUMBER,
                text_key=text_key(text),
                sent_at=self.now,
                text=text,
            )
        )

    def _evidence(self, submission_id: SubmissionId, message_id: str, sent_at: float) -> Evidence:
        return Evidence(
            message_id=message_id,
            sender_address="+16139998877",
            destination_address=self._destination(submission_id),
            text_key=text_key(self.commands[submission_id.command_id].message),
            sent_at=sent_at,
        )

    def _destination(self, submission_id: SubmissionId) -> str:
        return self.commands[submission_id.command_id].destinations[submission_id.index].wire

    def key(self, submission_id: SubmissionId) -> bytes:
        """Return the key that submissions share when the provider's history cannot distinguish them."""
        text = self.commands[submission_id.command_id].message
        return match_key(
            self._destination(submission_id),
            alter(text, self.alteration) if self.alteration in KNOWN else text,
        )

    @property
    def submission_ids(self) -> list[SubmissionId]:
        return [
            SubmissionId(command_id=id_, index=index)
            for id_, command in self.commands.items()
            for index in range(len(command.destinations))
        ]

    # --- the worker ----------------------------------------------------------------------------------------------

    def _step(self, job: Job) -> None:
        """Execute the next action of a job, and continue with its result."""
        branch = job.next
        if job.in_turns and job.branches:
            job.branches.append(job.branches.pop(0))
        assert branch.action is not None
        if isinstance(branch.action, WaitHere) and self._waits(job, branch.action.until):
            return
        self._resume(job, branch, self._carry_out(job, branch, branch.action))

    def _resume(self, job: Job, branch: Branch, result: object) -> None:
        """Send a branch the result of its action, up to the next action that a crash may precede.

        A worker publishes in the same iteration of its loop; a crash then loses the unconfirmed messages.
        """
        version = job.flow.version
        branch.action = None
        try:
            action = branch.steps.send(result)
            while isinstance(action, AT_ONCE):
                self._publish(job, action)
                action = branch.steps.send(None)
        except StopIteration:
            self._end(job, branch)
        else:
            if isinstance(action, Fork):
                job.branches = [Branch(steps) for steps in action.branches]
                for forked in list(job.branches):
                    self._resume(job, forked, None)
            else:
                branch.action = action
        assert job.flow.version >= version

    def _end(self, job: Job, branch: Branch) -> None:
        if branch is job.main:
            self.jobs.remove(job)
            return
        job.branches.remove(branch)
        if not job.branches:
            self._resume(job, job.main, Joined(lost=job.lost, now=self.clock))

    def _carry_out(self, job: Job, branch: Branch, action: Action) -> object:  # noqa: C901 - a line for each action
        match action:
            case ClaimSubmission():
                return self._claim(job, branch, action)
            case SendSubmission():
                return self._send(branch, action)
            case ReadHistory():
                return HistoryRead(self._look_up(action.submission.destination_address), self.clock)
            case RecordResult():
                return self._record(job, action)
            case BeginVersion():
                return self._apply(*action.changes)
            case AwaitConfirms():
                job.confirm()
            case Requeue():
                if job.connected:
                    self._requeue(job.message)
            case Acknowledge():
                assert not job.unconfirmed, "acknowledged before all messages were confirmed"
                # The message ends with the job, unless the broker has delivered it to another worker since.
            case Pause() | WaitHere():
                return self.has_capacity
            case _:
                raise AssertionError(action)
        return None

    def _claim(self, job: Job, branch: Branch, action: ClaimSubmission) -> Claimed:
        self.owners += 1
        owner = f"owner-{self.owners}"
        if job.lost:
            return Claimed(None, owner, self.clock)
        verdict: Verdict = self._apply(  # type: ignore[assignment]
            job.flow.claim(action.index, owner=owner, now=self.clock)
        )
        branch.until = self.now + LEASE
        if isinstance(verdict, HasOutcome):
            submission_id = SubmissionId(command_id=job.message.command_id, index=action.index)
            self._recorded(submission_id, verdict.outcome, verdict.stored_event)
        return Claimed(verdict, owner, self.clock)

    def _send(self, branch: Branch, action: SendSubmission) -> Answered:
        submission = action.submission
        assert submission.command_id is not None
        if self.now >= branch.until:
            return Answered(Attempted(answer=Unsent(error=ERROR), attempts=0), self.clock, 0.5)
        # Nothing is sent when the clocks differ by too much: see `bridge.adapters.cpaas.transport`.
        submission_id = SubmissionId(command_id=submission.command_id, index=submission.index)
        answer = self._call(submission_id) if abs(self.ahead) <= SKEW else Blocked(error=ERROR)
        return Answered(Attempted(answer=answer, attempts=1), self.clock, 0.5)

    def _record(self, job: Job, action: RecordResult) -> Recorded:
        recorded = self._apply(action.change)
        assert recorded is None or isinstance(recorded, RecordedResult)
        if recorded is not None and recorded.outcome is not None:
            assert recorded.stored_event is not None
            submission_id = SubmissionId(command_id=job.message.command_id, index=action.index)
            self._recorded(submission_id, recorded.outcome, recorded.stored_event)
        return Recorded(recorded, self.clock)

    def _publish(self, job: Job, action: Action) -> None:
        match action:
            case PublishOutcome():
                job.unconfirmed.append(partial(self._to_message, action.stored_event))
            case PublishCopy():
                copy = scheduled_copy(
                    job.flow.received, action.version, self.send_rules, at=action.at, now=self.clock
                )
                assert copy.delay is not None
                message = Message(
                    command_id=job.message.command_id, headers=copy.headers, due=self.now + copy.delay
                )
                job.unconfirmed.append(partial(self.delayed.append, message))
            case _:
                assert isinstance(action, PublishDeferral), action

    def _waits(self, job: Job, until: float) -> bool:
        """Whether a submission has to wait further; time passes if nothing else happens."""
        if not self.has_capacity or self.clock >= until:
            return False
        if self.jobs == [job] and not self.queue:
            self.now += until - self.clock
        return True

    def _apply(self, *changes: Change) -> object:
        return self.ledger.apply(changes)[0]

    # --- invariants ----------------------------------------------------------------------------------------------

    def _not_too_many(self, submission_id: SubmissionId) -> None:
        """Check that no submission is accepted twice. Of identical ones only the number is checked."""
        key = self.key(submission_id)
        ours = [accepted for accepted in self.accepted if self.key(accepted.submission_id) == key]
        alike = [other for other in self.submission_ids if self.key(other) == key]

        assert len(ours) <= len(alike) + self.forced[key], "the provider has accepted it twice"

    def _recorded(self, submission_id: SubmissionId, outcome: Outcome, stored_event: StoredEvent) -> None:
        if stored_event.event_id in self.lost:
            self.lost.remove(stored_event.event_id)
            self.outcomes.pop(stored_event.event_id, None)
            self.published.pop(stored_event.event_id, None)
        known = self.outcomes.setdefault(stored_event.event_id, (submission_id, outcome, stored_event))

        assert known == (submission_id, outcome, stored_event), "a second outcome, or other bytes"
        message_id = event_of(stored_event.body)["data"]["message_id"]
        if message_id is not None:
            assert self.owned.setdefault(message_id, submission_id) == submission_id, (
                "one message of two submissions"
            )

    def _to_message(self, stored_event: StoredEvent) -> None:
        assert self.published.setdefault(stored_event.event_id, stored_event) == stored_event, (
            "published with other bytes"
        )

    def _judge(self) -> None:
        assert set(self.outcomes) == set(self.published), "an outcome was never published"
        submission_ids = Counter(submission_id for submission_id, _, _ in self.outcomes.values())
        assert set(submission_ids) == set(self.submission_ids), "a submission vanished"
        for key in {self.key(submission_id) for submission_id in self.submission_ids}:
            alike = {
                id_: end
                for id_, (submission_id, end, _) in self.outcomes.items()
                if self.key(submission_id) == key
            }
            ends = Counter(alike.values())
            # A ledger that has lost it may have published the same message again in another replay.
            sent = sum(end is Outcome.SENT for id_, end in alike.items() if id_ not in self.lost)
            accepted = sum(self.key(accepted.submission_id) == key for accepted in self.accepted)

            assert sent <= accepted, "published as sent, but never accepted"
            assert accepted <= ends[Outcome.SENT] + ends[Outcome.UNKNOWN], "accepted, but published otherwise"
        for submission_id, outcome, stored_event in self.outcomes.values():
            message_id = event_of(stored_event.body)["data"]["message_id"]
            if outcome is Outcome.SENT and message_id is not None:
                [found] = [one for one in self.accepted if one.evidence.message_id == message_id]

                assert self.key(found.submission_id) == self.key(submission_id), "a message of another sender"


def _body(command_id: str, destinations: list[str], text: str, *, times: bool) -> bytes:
    body: dict[str, object] = {"id": command_id, "destination_address": destinations, "message": text}
    if times:
        body |= {"send_at": "2027-01-15T08:00:20Z", "expires_at": "2027-01-15T08:01:00Z"}
    return json.dumps(body).encode()


def _command(body: bytes) -> SendSms:
    command = parse_command(body, None, rules=CommandRules(), now=START)
    assert isinstance(command, SendSms), command
    return command
