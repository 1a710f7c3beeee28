"""A world for the ledger's rules to live in: broker, workers, provider and time, each step of them chosen by a test.

The broker redelivers what was not acked and brings copies late; workers are killed at any step, or cut off and going on
as zombies; the provider accepts or not, says so or not, and shows what it has accepted when it likes. The rules and
the store are the real ones. Promises are checked as they are broken, the rest by `settle`.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from bridge.adapters.store.memory import MemoryLedger
from bridge.core.answers import Accepted, Ambiguous, Answer, Blocked, ProviderError, Refused, Unsent
from bridge.core.commands import CommandRules, SendSms, parse_command
from bridge.core.decide import Judgement, judge
from bridge.core.events import DEAD
from bridge.core.evidence import Evidence, Reading, match_key
from bridge.core.ledger import (
    Call,
    Carry,
    Claim,
    ClockSet,
    File,
    Filed,
    HandOver,
    Later,
    Look,
    Place,
    Replay,
    Resolve,
    Superseded,
    Tell,
    Told,
    restored,
)
from bridge.core.ledger.claiming import SHORT_WAIT
from bridge.core.likeness import text_key
from bridge.core.outcomes import Outcome, Style
from bridge.core.rules import LedgerRules, LimitRules, ReconcileRules, RetryRules
from bridge.simulator.alterations import alter
from tests.against_contract import event_of
from tests.unit.altered_texts import KNOWN, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Literal

    from bridge.core.ledger import Change, Verdict

START = 1_800_000_000.0
LEASE = 30.0
SETTLE = 60.0
SKEW = 120.0
#: Seconds until the provider shows all that it has accepted.
LONGEST_LAG = 161.0
NUMBER = "+16131234567"
STYLE = Style(source="/sms-bridge/sms")
ERROR = ProviderError(name="http")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the provider makes of a call."""

    #: Whether it accepts; `after` so many seconds, and shows it in its history `lag` seconds later.
    accepts: bool = False
    after: float = 0.0
    lag: float = 0.0
    #: What it answers; None for an acceptance that says so, with the message's id.
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
#: What only those who park what is absent are safe from.
TOO_LATE = Plan(accepts=True, after=SETTLE, lag=100.0, answer=AMBIGUOUS)

History: TypeAlias = "Literal['whole', 'cut off', 'down']"
#: A part of a job; gives back whether to go on with the same submission at once.
Going: TypeAlias = "Generator[None, None, bool]"


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """A message that the provider has."""

    place: Place
    evidence: Evidence
    shown_at: float


@dataclass
class Message:
    """A message of a command in the broker: on the queue, or in the delay until `due`."""

    command_id: str
    generation: int = 0
    redelivered: bool = False
    #: Whether it is or was in the delay.
    delayed: bool = False
    due: float = 0.0
    replay: Replay | None = None


@dataclass
class Job:
    """A delivery in a worker's hands; the generator stops before each step that a crash may come before."""

    message: Message
    steps: Iterator[None]
    #: Whether the broker still counts the delivery as this worker's.
    connected: bool = True
    generation: int = 0
    waits: dict[int, float] = field(default_factory=dict)
    #: How far the clock was ahead when each submission was claimed.
    ahead: dict[int, float] = field(default_factory=dict)
    waits_itself: bool = False
    given_back: bool = False

    def wait(self, index: int, at: float, *, itself: bool) -> None:
        self.waits[index] = at
        self.waits_itself = self.waits_itself or itself


class World:
    """Two commands to one number with one text, the first also to another number; and a crowd of other texts to it."""

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
        #: Messages of others who send for the same account.
        self.strangers: list[Evidence] = []
        #: Real time, and by how much the workers' clock is ahead of it.
        self.now = START
        self.ahead = 0.0
        self.rules = LedgerRules(
            lease=LEASE,
            poison_after=3,
            retry=RetryRules(max_age=max_age),
            reconcile=ReconcileRules(settle=SETTLE, skew=SKEW, on_absent="park" if park else "resend"),
            limits=LimitRules(account_per_second=0.5, sender_per_second=0.25) if limits else LimitRules(),
        )
        self.ledger = MemoryLedger()
        self.queue: list[Message] = []
        self.delayed: list[Message] = []
        self.jobs: list[Job] = []
        self.owners = 0
        self.plans: list[Plan] = []
        self.history: History = "whole"
        self.accepted: list[Acceptance] = []
        #: What was filed and told, by event id.
        self.outcomes: dict[str, tuple[Place, Outcome, Told]] = {}
        self.told: dict[str, Told] = {}
        #: Outcomes that a restore of the ledger has lost, by event id.
        self.lost: set[str] = set()
        #: Ids of messages, and which submission told that it is theirs.
        self.owned: dict[str, Place] = {}
        #: How often somebody had something sent anew that nobody could tell.
        self.forced: Counter[bytes] = Counter()
        text = (KNOWN | UNKNOWN)[alteration] if alteration else "hi"
        self.commands = {"order-17": _command("order-17", [NUMBER, "+16131234568"], text, times=times)}
        if twins:
            self.commands["order-18"] = _command("order-18", [NUMBER], text, times=times)
        for number in range(crowd):
            id_ = f"crowd-{number}"
            self.commands[id_] = _command(id_, [NUMBER], f"{text} and {number} more", times=times)
        for command_id in self.commands:
            self.publish(command_id)
        self.save()

    # --- what may happen -----------------------------------------------------------------------------------------

    def publish(self, command_id: str, replay: Replay | None = None) -> None:
        self.queue.append(Message(command_id=command_id, replay=replay))

    @property
    def dead_letters(self) -> list[str]:
        return [id_ for id_ in self.told if self.outcomes[id_][1].event_type in DEAD]

    def send_back(self, event_id: str, *, resend: bool) -> None:
        place, outcome, _ = self.outcomes[event_id]
        # A restored ledger may say another outcome of it, which is `unknown`.
        if resend and (outcome is Outcome.UNKNOWN or self.ledger.restored is not None):
            self.forced[self.key(place)] += 1
        self.publish(place.command_id, Replay(event_id=event_id, resend=resend))

    def take(self, message: Message, *, at_once: bool = False) -> Job:
        job = Job(message=message, steps=iter(()), generation=message.generation)
        job.steps = self._work(job, at_once=at_once)
        self.jobs.append(job)
        return job

    def advance(self, job: Job, steps: int = 100) -> None:
        for _ in range(steps):
            if next(job.steps, self) is self:
                self.jobs.remove(job)
                break

    def kill(self, job: Job) -> None:
        self.jobs.remove(job)
        if job.connected:
            self._requeue(job.message)

    def cut_off(self, job: Job) -> None:
        if job.connected:
            job.connected = False
            self._requeue(job.message)

    @property
    def clock(self) -> float:
        """What the workers take for the time."""
        return self.now + self.ahead

    def set_clock(self, ahead: float) -> None:
        """Set the workers' clock, and have one of them notice."""
        if ahead != self.ahead:
            for job in self.jobs:
                # As `Worker.clock_set` does.
                job.waits = {index: at + ahead - self.ahead for index, at in job.waits.items()}
            self.ahead = ahead
            self.ledger.apply([ClockSet(now=self.clock, rules=self.rules)])

    def save(self) -> None:
        """Keep the ledger as it is now, as a standby has it that receives nothing more."""
        ledger = self.ledger
        self._saved = (dict(ledger._records), dict(ledger._sightings), dict(ledger._buckets), ledger.restored)

    def restore(self) -> None:
        """Put the ledger back as it was saved: the workers end, and by the time it is back all messages show."""
        for job in list(self.jobs):
            self.kill(job)
        self.now += LONGEST_LAG
        records, sightings, buckets, before = self._saved
        ledger = self.ledger
        ledger._records, ledger._buckets = dict(records), dict(buckets)
        ledger._sightings.clear()
        ledger._sightings.update(sightings)
        ledger.restored = restored(
            self.clock,
            last_commit_at=max((record.updated_at for record in records.values()), default=None),
            max_age=max(self.rules.retry.max_age, self.rules.restored_lookup),
            before=before,
        )
        self._forget_outcomes()

    def _forget_outcomes(self) -> None:
        """Let outcomes be told in other bytes that the ledger has lost; those that were not told never were."""
        kept = {
            submission.told.event_id
            for record in self.ledger._records.values()
            for submission in record.submissions.values()
            if submission.told is not None
        }
        self.lost |= self.outcomes.keys() - kept
        self.outcomes = {
            id_: known for id_, known in self.outcomes.items() if id_ in self.told or id_ in kept
        }
        places = {self.outcomes[id_][0] for id_ in self.lost & self.outcomes.keys()}
        self.owned = {id_: place for id_, place in self.owned.items() if place not in places}

    @property
    def due(self) -> list[Message]:
        return [message for message in self.delayed if message.due <= self.now]

    def bring(self, message: Message) -> None:
        self.delayed.remove(message)
        self.queue.append(message)

    def settle(self) -> None:
        """Let everything come to rest: zombies die, every worker ends its job, every copy arrives; then judge it."""
        for job in [job for job in self.jobs if not job.connected]:
            self.kill(job)
        self.plans = []
        self.history = "whole"
        self.set_clock(0.0)
        self.settle_plans()
        self._judge()

    def settle_plans(self) -> None:
        """Let time pass until nothing is left to do, the next calls going as planned."""
        for _ in range(2000):
            while self.queue:
                self.take(self.queue.pop(0))
            for job in list(self.jobs):
                self.advance(job)
            if not self.delayed and not self.queue and not self.jobs:
                break
            # By a day and more where a copy was made while the clock was set.
            self.now = max(self.now + 3.0, min((message.due for message in self.delayed), default=0.0))
            for message in self.due:
                self.bring(message)

        assert not self.queue, "a message goes round for ever"
        assert not self.delayed, "a copy goes round for ever"
        assert not self.jobs, "a job never ends"

    # --- the broker ----------------------------------------------------------------------------------------------

    def _requeue(self, message: Message) -> None:
        self.queue.append(
            Message(
                command_id=message.command_id,
                generation=message.generation,
                delayed=message.delayed,
                redelivered=True,
                replay=message.replay,
            )
        )

    # --- the provider --------------------------------------------------------------------------------------------

    def _call(self, place: Place) -> Answer:
        plan = self.plans.pop() if self.plans else SENT
        message_id = f"m-{len(self.accepted)}"
        if plan.accepts:
            sent_at = self.now + plan.after
            evidence = self._evidence(place, message_id, sent_at)
            self.accepted.append(Acceptance(place=place, evidence=evidence, shown_at=sent_at + plan.lag))
            self._not_too_many(place)
        if plan.answer is not None:
            return plan.answer
        return Accepted(
            message_id=message_id, sender_address="+16139998877", delivery_status=None, http_status=201
        )

    def _look(self, place: Place) -> Reading | None:
        if self.history == "down" or abs(self.ahead) > SKEW:
            return None
        shown = [self._shown(accepted) for accepted in self.accepted if accepted.shown_at <= self.now]
        shown += self.strangers
        number = self._destination(place)
        return Reading(
            messages=tuple(message for message in shown if message.destination_address == number),
            total=len(shown),
            complete=self.history == "whole",
            read_at=self.clock,
        )

    def _shown(self, accepted: Acceptance) -> Evidence:
        text = alter(self.commands[accepted.place.command_id].message, self.alteration)
        return replace(accepted.evidence, text=text, text_key=text_key(text))

    def a_stranger_sends(self, text: str) -> None:
        """Have somebody else send a message from the account's number to the number that most commands go to."""
        self.strangers.append(
            Evidence(
                message_id=f"s-{len(self.strangers)}",
                sender_address="+16139998877",
                destination_address=NUMBER,
                text_key=text_key(text),
                sent_at=self.now,
                text=text,
            )
        )

    def _evidence(self, place: Place, message_id: str, sent_at: float) -> Evidence:
        return Evidence(
            message_id=message_id,
            sender_address="+16139998877",
            destination_address=self._destination(place),
            text_key=text_key(self.commands[place.command_id].message),
            sent_at=sent_at,
        )

    def _destination(self, place: Place) -> str:
        return self.commands[place.command_id].destinations[place.index].wire

    def key(self, place: Place) -> bytes:
        """Return what those share that nobody can tell apart by what the provider shows of them."""
        text = self.commands[place.command_id].message
        return match_key(
            self._destination(place), alter(text, self.alteration) if self.alteration in KNOWN else text
        )

    @property
    def places(self) -> list[Place]:
        return [
            Place(command_id=id_, index=index)
            for id_, command in self.commands.items()
            for index in range(len(command.destinations))
        ]

    # --- the worker ----------------------------------------------------------------------------------------------

    def _work(self, job: Job, *, at_once: bool) -> Iterator[None]:
        """Claim, call, file, tell, settle; `at_once` claims all submissions before the first call."""
        claimed = []
        for index in range(len(self.commands[job.message.command_id].destinations)):
            place = Place(command_id=job.message.command_id, index=index)
            owner, verdict, until = self._claim(job, place)
            yield
            if at_once:
                claimed.append((place, owner, verdict, until))
            else:
                yield from self._follow(job, place, owner, verdict, until)
        for place, owner, verdict, until in claimed:
            yield from self._follow(job, place, owner, verdict, until)
        if job.given_back:
            if job.connected:
                self._requeue(job.message)
        elif job.waits:
            yield from self._leave_a_copy(job)
        # The ack: the message is gone with the job, unless the broker has given it to another worker since.

    def _claim(self, job: Job, place: Place) -> tuple[str, Verdict, float]:
        self.owners += 1
        job.ahead[place.index] = self.ahead
        owner = f"owner-{self.owners}"
        verdict: Verdict = self._apply(  # type: ignore[assignment]
            Claim(
                command=self.commands[place.command_id],
                index=place.index,
                owner=owner,
                now=self.clock,
                style=STYLE,
                rules=self.rules,
                generation=job.generation,
                carried=job.message.generation,
                delayed=job.message.delayed,
                redelivered=job.message.redelivered,
                replay=job.message.replay,
            )
        )
        if isinstance(verdict, Call | Look | Later) and verdict.generation is not None:
            assert verdict.generation >= job.generation
            job.generation = verdict.generation
        if isinstance(verdict, Tell):
            self._filed(place, verdict.outcome, verdict.told)
        return owner, verdict, self.now + LEASE

    def _follow(self, job: Job, place: Place, owner: str, verdict: Verdict, until: float) -> Iterator[None]:
        while (yield from self._take_verdict(job, place, owner, verdict, until)):
            owner, verdict, until = self._claim(job, place)
            yield

    def _take_verdict(self, job: Job, place: Place, owner: str, verdict: Verdict, until: float) -> Going:
        match verdict:
            case Call():
                return (yield from self._send(job, place, owner, verdict, until))
            case Look():
                return (yield from self._resolve(job, place, owner, verdict))
            case Tell():
                self._tell(verdict.told)
                yield
            case Later() if verdict.limited and verdict.at - self.clock <= SHORT_WAIT:
                return (yield from self._wait_a_moment(job, verdict.at))
            case Later():
                # From a verdict to what follows no time passes in a worker, so it can't be of another time.
                at = verdict.at + self.ahead - job.ahead[place.index]
                job.wait(place.index, at, itself=verdict.own)
            case _:
                assert isinstance(verdict, Superseded), verdict
        return False

    def _wait_a_moment(self, job: Job, at: float) -> Going:
        while self.clock < at:
            yield
            if self._idle(job):
                self.now += at - self.clock
        return True

    def _idle(self, job: Job) -> bool:
        """Whether nobody else would let time pass."""
        return self.jobs == [job] and not self.queue

    def _send(self, job: Job, place: Place, owner: str, call: Call, until: float) -> Going:
        if self.now >= until:
            job.given_back = True
            return False
        # With clocks that differ by too much nothing is sent: see `bridge.adapters.cpaas.timekeeping`.
        answer = self._call(place) if abs(self.ahead) <= SKEW else Blocked(error=ERROR)
        yield
        command = self.commands[place.command_id]
        filing = judge(
            Judgement(
                command=command,
                index=place.index,
                answer=answer,
                attempts=call.attempts + 1,
                attempts_before=call.attempts,
                first_attempt_at=call.first_attempt_at,
                now=self.clock,
                chance=0.5,
            ),
            retry=self.rules.retry,
            style=STYLE,
        )
        evidence = None
        if isinstance(answer, Accepted) and answer.message_id is not None:
            evidence = self._evidence(place, answer.message_id, self.clock)
        filed = self._apply(
            File(
                command=command,
                command_id=place.command_id,
                index=place.index,
                owner=owner,
                filing=filing,
                now=self.clock,
                style=STYLE,
                evidence=evidence,
            )
        )
        return (yield from self._after(job, place, filed))

    def _resolve(self, job: Job, place: Place, owner: str, look: Look) -> Going:
        reading = self._look(place)
        yield
        filed = self._apply(
            Resolve(
                command=self.commands[place.command_id],
                command_id=place.command_id,
                index=place.index,
                owner=owner,
                reading=reading,
                since=look.since,
                now=self.clock,
                style=STYLE,
                rules=self.rules,
            )
        )
        return (yield from self._after(job, place, filed))

    def _after(self, job: Job, place: Place, filed: object) -> Going:
        """Tell what was filed; returns whether to go on at once."""
        assert filed is None or isinstance(filed, Filed)
        if filed is None:
            job.given_back = True
        elif filed.outcome is not None:
            assert filed.told is not None
            self._filed(place, filed.outcome, filed.told)
            yield
            self._tell(filed.told)
        else:
            assert filed.retry_at is not None
            if filed.deferred is None and filed.retry_at <= self.clock:
                yield
                return True
            job.wait(place.index, filed.retry_at, itself=True)
        yield
        return False

    def _leave_a_copy(self, job: Job) -> Iterator[None]:
        message = job.message
        generation = None
        if job.waits_itself:
            generation = self._apply(
                HandOver(command_id=message.command_id, generation=job.generation, now=self.clock),
                *(Carry(command_id=message.command_id, index=index) for index in job.waits),
            )
            yield
        assert generation is None or isinstance(generation, int)
        self.delayed.append(
            Message(
                command_id=message.command_id,
                generation=generation or message.generation,
                delayed=True,
                due=self.now + max(min(job.waits.values()) - self.clock, 1.0),
                replay=message.replay,
            )
        )
        yield

    def _apply(self, *changes: Change) -> object:
        return self.ledger.apply(changes)[0]

    # --- the promises --------------------------------------------------------------------------------------------

    def _not_too_many(self, place: Place) -> None:
        """Check that no submission is accepted twice; twins can't be told apart, so only their number counts."""
        key = self.key(place)
        ours = [accepted for accepted in self.accepted if self.key(accepted.place) == key]
        alike = [other for other in self.places if self.key(other) == key]

        assert len(ours) <= len(alike) + self.forced[key], "the provider has accepted it twice"

    def _filed(self, place: Place, outcome: Outcome, told: Told) -> None:
        if told.event_id in self.lost:
            self.lost.remove(told.event_id)
            self.outcomes.pop(told.event_id, None)
            self.told.pop(told.event_id, None)
        known = self.outcomes.setdefault(told.event_id, (place, outcome, told))

        assert known == (place, outcome, told), "a second outcome, or other bytes"
        message_id = event_of(told.body)["data"]["message_id"]
        if message_id is not None:
            assert self.owned.setdefault(message_id, place) == place, "one message of two submissions"

    def _tell(self, told: Told) -> None:
        assert self.told.setdefault(told.event_id, told) == told, "told in other bytes"

    def _judge(self) -> None:
        assert set(self.outcomes) == set(self.told), "an outcome was never told"
        places = Counter(place for place, _, _ in self.outcomes.values())
        assert set(places) == set(self.places), "a submission vanished"
        for key in {self.key(place) for place in self.places}:
            alike = {id_: end for id_, (place, end, _) in self.outcomes.items() if self.key(place) == key}
            ends = Counter(alike.values())
            # Of another life, the ledger that has lost it may have told the same message again.
            sent = sum(end is Outcome.SENT for id_, end in alike.items() if id_ not in self.lost)
            accepted = sum(self.key(accepted.place) == key for accepted in self.accepted)

            assert sent <= accepted, "told as sent, but never accepted"
            assert accepted <= ends[Outcome.SENT] + ends[Outcome.UNKNOWN], "accepted, but told otherwise"
        for place, outcome, told in self.outcomes.values():
            message_id = event_of(told.body)["data"]["message_id"]
            if outcome is Outcome.SENT and message_id is not None:
                [found] = [one for one in self.accepted if one.evidence.message_id == message_id]

                assert self.key(found.place) == self.key(place), "somebody else's message"


def _command(command_id: str, destinations: list[str], text: str, *, times: bool) -> SendSms:
    body: dict[str, object] = {"id": command_id, "destination_address": destinations, "message": text}
    if times:
        body |= {"send_at": "2027-01-15T08:00:20Z", "expires_at": "2027-01-15T08:01:00Z"}
    command = parse_command(json.dumps(body).encode(), None, rules=CommandRules(), now=START)
    assert isinstance(command, SendSms), command
    return command
