"""The worker's protocol against the ledger's rules, over any interleaving of deliveries, workers, crashes and time.

The model plays the broker (redelivery of what was not acked, copies that come late), the workers (killed at any step,
or cut off from the broker and going on as zombies) and the provider. The rules and the store are the real ones.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from bridge.adapters.store.memory import MemoryLedger
from bridge.core.answers import Accepted, Ambiguous, Answer, Blocked, ProviderError, Refused, Unsent
from bridge.core.commands import CommandRules, SendSms, parse_command
from bridge.core.decide import Judgement, RetryRules, judge
from bridge.core.ledger import Call, Carry, Claim, File, HandOver, Later, Superseded, Tell
from bridge.core.outcomes import Style

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.core.ledger import Change, Verdict

START = 1_800_000_000.0
LEASE = 30.0
STYLE = Style(source="/sms-bridge/sms")
BODY = (
    b'{"id": "order-17", "destination_address": ["+16131234567", "+16131234568"], "message": "hi"'
    b', "send_at": %s, "expires_at": %s}'
)
ERROR = ProviderError(name="http")
ANSWERS: list[Answer] = [
    Accepted(message_id="m", sender_address=None, delivery_status=None, http_status=201),
    Unsent(error=ERROR),
    Unsent(error=ERROR, retry_after=20.0),
    Ambiguous(error=ERROR),
    Refused(error=ERROR),
    Blocked(error=ERROR),
]


@dataclass
class Message:
    """A message of the command in the broker: on the queue, or in the delay until `due`."""

    generation: int = 0
    redelivered: bool = False
    due: float = 0.0


@dataclass
class Job:
    """A delivery in a worker's hands; the generator stops before each step that a crash may come before."""

    message: Message
    steps: Iterator[None]
    #: Whether the broker still counts the delivery as this worker's.
    connected: bool = True
    generation: int = 0
    laters: dict[int, Later] = field(default_factory=dict)


def command_of(send_at: bool, expires_at: bool) -> SendSms:
    body = BODY % (
        b'"2027-01-15T08:00:20Z"' if send_at else b"null",
        b'"2027-01-15T08:01:00Z"' if expires_at else b"null",
    )
    command = parse_command(body, None, rules=CommandRules(), now=START)
    assert isinstance(command, SendSms), command
    return command


class Sending(RuleBasedStateMachine):
    """One command with two submissions, delivered as often as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.ledger = MemoryLedger()
        self.queue: list[Message] = []
        self.delayed: list[Message] = []
        self.jobs: list[Job] = []
        self.owners = 0
        #: Submissions that may have been called and were not filed as waiting since.
        self.open_calls: set[int] = set()
        self.outcomes: dict[int, bytes] = {}
        self.told: dict[int, bytes] = {}
        self.answers: list[Answer] = []

    @initialize(send_at=st.booleans(), expires_at=st.booleans())
    def begin(self, send_at: bool, expires_at: bool) -> None:
        self.command = command_of(send_at, expires_at)
        self.queue.append(Message())

    @rule()
    def the_command_is_published_again(self) -> None:
        if len(self.queue) + len(self.delayed) + len(self.jobs) < 6:
            self.queue.append(Message())

    @precondition(lambda self: self.queue)
    @rule(pick=st.integers(0, 5), at_once=st.booleans(), steps=st.integers(0, 12))
    def a_worker_takes_a_delivery(self, pick: int, at_once: bool, steps: int) -> None:
        job = self.take(self.queue.pop(pick % len(self.queue)), at_once)
        self.advance(job, steps)

    @precondition(lambda self: self.jobs)
    @rule(
        pick=st.integers(0, 5),
        steps=st.integers(1, 12),
        answers=st.lists(st.sampled_from(ANSWERS), max_size=2),
    )
    def a_worker_goes_on(self, pick: int, steps: int, answers: list[Answer]) -> None:
        self.answers = answers
        self.advance(self.jobs[pick % len(self.jobs)], steps)

    @precondition(lambda self: self.jobs)
    @rule(pick=st.integers(0, 5))
    def a_worker_is_killed(self, pick: int) -> None:
        self.kill(self.jobs[pick % len(self.jobs)])

    @precondition(lambda self: self.jobs)
    @rule(pick=st.integers(0, 5))
    def a_worker_loses_its_connection_and_goes_on(self, pick: int) -> None:
        job = self.jobs[pick % len(self.jobs)]
        if job.connected:
            job.connected = False
            self.requeue(job.message)

    @rule(seconds=st.sampled_from([1.0, 2.5, 11.0, 31.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: any(message.due <= self.now for message in self.delayed))
    @rule(pick=st.integers(0, 5))
    def a_delayed_copy_comes(self, pick: int) -> None:
        due = [message for message in self.delayed if message.due <= self.now]
        message = due[pick % len(due)]
        self.delayed.remove(message)
        self.queue.append(message)

    def teardown(self) -> None:
        """Let everything come to rest: zombies die, every worker ends its job, every copy arrives."""
        for job in [job for job in self.jobs if not job.connected]:
            self.kill(job)
        self.answers = []
        for _ in range(300):
            while self.queue:
                self.take(self.queue.pop(0), at_once=False)
            for job in list(self.jobs):
                self.advance(job, 100)
            if not self.delayed:
                break
            self.now += 3.0
            self.queue = [message for message in self.delayed if message.due <= self.now]
            self.delayed = [message for message in self.delayed if message.due > self.now]

        assert not self.queue, "a message goes round for ever"
        assert not self.delayed, "a copy goes round for ever"
        if hasattr(self, "command"):
            assert set(self.outcomes) == {0, 1}, "a submission vanished"
            assert set(self.told) == {0, 1}, "an outcome was never told"

    # -- the broker ----------------------------------------------------------------------------------------------------

    def take(self, message: Message, at_once: bool) -> Job:
        self.owners += 1
        job = Job(message=message, steps=iter(()), generation=message.generation)
        job.steps = self.work(job, f"worker-{self.owners}", at_once)
        self.jobs.append(job)
        return job

    def requeue(self, message: Message) -> None:
        self.queue.append(Message(generation=message.generation, redelivered=True))

    def kill(self, job: Job) -> None:
        self.jobs.remove(job)
        if job.connected:
            self.requeue(job.message)

    def advance(self, job: Job, steps: int) -> None:
        for _ in range(steps):
            if next(job.steps, self) is self:
                self.jobs.remove(job)
                break

    # -- the worker ----------------------------------------------------------------------------------------------------

    def work(self, job: Job, owner: str, at_once: bool) -> Iterator[None]:
        """Claim, call, file, tell, settle; `at_once` claims all submissions before the first call."""
        claimed = []
        for index in (0, 1):
            verdict, until = self.claim(job, owner, index), self.now + LEASE
            yield
            if at_once:
                claimed.append((index, verdict, until))
            else:
                yield from self.follow(job, owner, index, verdict, until)
        for index, verdict, until in claimed:
            yield from self.follow(job, owner, index, verdict, until)
        if job.laters:
            yield from self.leave_a_copy(job)
        # The ack: the message is gone with the job, unless the broker has given it to another worker since.

    def follow(self, job: Job, owner: str, index: int, verdict: Verdict, until: float) -> Iterator[None]:
        match verdict:
            case Call():
                yield from self.call(job, owner, index, verdict, until)
            case Tell():
                self.tell(index, verdict.told.body)
                yield
            case Later():
                job.laters[index] = verdict
            case Superseded():
                pass
            case _:
                raise AssertionError(verdict)

    def claim(self, job: Job, owner: str, index: int) -> Verdict:
        verdict: Verdict = self.apply(  # type: ignore[assignment]
            Claim(
                command=self.command,
                index=index,
                owner=owner,
                lease=LEASE,
                now=self.now,
                style=STYLE,
                generation=job.generation,
            )
        )
        if isinstance(verdict, Call):
            assert index not in self.open_calls, (
                "called again although an earlier call was not filed as waiting"
            )
            assert index not in self.outcomes, "called again after its outcome"
            self.open_calls.add(index)
            job.generation = max(job.generation, verdict.generation)
        if isinstance(verdict, Tell):
            self.filed(index, verdict.told.body)
        return verdict

    def call(self, job: Job, owner: str, index: int, call: Call, until: float) -> Iterator[None]:
        lost = Later(at=self.now, own=False)
        if self.now >= until:
            job.laters[index] = lost
            return
        answer = self.answers.pop() if self.answers else ANSWERS[0]
        yield
        filing = judge(
            Judgement(
                command=self.command,
                index=index,
                answer=answer,
                attempts=call.attempts + 1,
                attempts_before=call.attempts,
                first_attempt_at=call.first_attempt_at,
                now=self.now,
                chance=0.5,
            ),
            retry=RetryRules(),
            style=STYLE,
        )
        kept = self.apply(
            File(
                command_id="order-17",
                index=index,
                owner=owner,
                filing=filing,
                now=self.now,
            )
        )
        if not kept:
            job.laters[index] = lost
        elif filing.event is not None and filing.outcome is not None:
            self.filed(index, filing.event.body)
            yield
            self.tell(index, filing.event.body)
        else:
            assert filing.retry_at is not None
            self.open_calls.discard(index)
            job.laters[index] = Later(at=filing.retry_at, own=True)
        yield

    def leave_a_copy(self, job: Job) -> Iterator[None]:
        at = min(later.at for later in job.laters.values())
        generation = None
        if any(later.own for later in job.laters.values()):
            generation = self.apply(
                HandOver(command_id="order-17", generation=job.generation, now=self.now),
                *(Carry(command_id="order-17", index=index) for index in job.laters),
            )
            yield
        assert generation is None or isinstance(generation, int)
        self.delayed.append(Message(generation=generation or job.message.generation, due=at))
        yield

    def apply(self, *changes: Change) -> object:
        return self.ledger.apply(changes)[0]

    def filed(self, index: int, body: bytes) -> None:
        assert self.outcomes.setdefault(index, body) == body, "a second outcome, or other bytes"

    def tell(self, index: int, body: bytes) -> None:
        assert self.told.setdefault(index, body) == body, "told in other bytes"


TestSending = Sending.TestCase
TestSending.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


def walk(seed: int) -> Sending:  # noqa: C901 - a table of what may happen next
    """Take 40 steps by chance; many short walks find what few long ones don't."""
    chance = random.Random(seed)
    world = Sending()
    world.begin(send_at=chance.random() < 0.2, expires_at=chance.random() < 0.2)
    for _ in range(40):
        pick, roll = chance.randrange(6), chance.random()
        world.answers = chance.choices(ANSWERS, weights=[4, 4, 1, 1, 1, 1], k=2)
        if roll < 0.5 and world.jobs:
            world.advance(world.jobs[pick % len(world.jobs)], chance.choice([1, 1, 2, 3, 20]))
        elif roll < 0.55 and world.jobs:
            world.a_worker_is_killed(pick)
        elif roll < 0.65 and world.jobs:
            world.a_worker_loses_its_connection_and_goes_on(pick)
        elif roll < 0.7:
            world.time_passes(chance.choice([1.0, 1.0, 11.0, 31.0]))
        elif roll < 0.85 and any(message.due <= world.now for message in world.delayed):
            world.a_delayed_copy_comes(pick)
        elif roll < 0.98 and world.queue:
            world.a_worker_takes_a_delivery(pick, at_once=chance.random() < 0.3, steps=0)
        elif roll >= 0.98:
            world.the_command_is_published_again()
    return world


@pytest.mark.parametrize("hundred", range(10))
def test_whatever_happens_each_submission_is_called_and_told_as_promised(hundred: int) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        walk(seed).teardown()


def test_an_outcome_that_another_filed_before_the_hand_over_is_told_by_the_copy() -> None:
    world = Sending()
    world.begin(send_at=False, expires_at=False)
    zombie = world.take(world.queue.pop(), at_once=False)
    world.advance(zombie, 1)
    zombie.connected = False
    world.requeue(zombie.message)
    heir = world.take(world.queue.pop(), at_once=False)
    world.answers = [ANSWERS[1]]
    world.advance(heir, 4)
    world.answers = []
    world.advance(zombie, 2)
    world.advance(heir, 100)

    assert set(world.outcomes) == {0}, "the zombie filed and did not tell"
    assert world.told == {}
    assert [message.generation for message in world.delayed] == [1]
    world.teardown()


def test_a_hand_over_that_was_cut_leaves_nothing_behind_that_nobody_looks_at() -> None:
    world = Sending()
    world.begin(send_at=False, expires_at=False)
    world.answers = [ANSWERS[1]] * 2
    world.advance(world.take(world.queue.pop(), at_once=False), 100)
    world.now += 1.0
    world.a_delayed_copy_comes(0)
    world.answers = [ANSWERS[1]] * 2
    cut = world.take(world.queue.pop(), at_once=False)
    world.advance(cut, 7)
    world.kill(cut)

    assert world.ledger.apply([HandOver(command_id="order-17", generation=2, now=world.now)]) == [3]
    assert [(message.generation, message.redelivered) for message in world.queue] == [(1, True)]
    world.teardown()
