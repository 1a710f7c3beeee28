"""The ledger's rules, row by row: what a delivery meets, and what it may do then."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bridge.core.commands import CommandRules, SendSms, parse_command
from bridge.core.ledger import (
    DOUBTFUL,
    Call,
    Carry,
    Change,
    Claim,
    CommandRecord,
    Conflict,
    File,
    Filed,
    Filing,
    HandOver,
    Later,
    Look,
    Replay,
    Resolve,
    Slate,
    SubmissionRecord,
    Superseded,
    Tell,
    Verdict,
)
from bridge.core.ledger.claim import LOOK_AGAIN, OVERDUE
from bridge.core.outcomes import Outcome, Result, Style
from bridge.core.reconcile import Evidence, Reading, text_key
from bridge.core.rules import LedgerRules

NOW = 1_800_000_000.0
LEASE = 30.0
STYLE = Style(source="/sms-bridge/sms")


def command(
    *,
    to: str = "+16131234567",
    message: str = "hi",
    send_at: float | None = None,
    expires_at: float | None = None,
) -> SendSms:
    body = {"id": "order-17", "destination_address": [to, "+16131234568"], "message": message}
    parsed = parse_command(json.dumps(body).encode(), None, rules=CommandRules(), now=NOW)
    assert isinstance(parsed, SendSms)
    return replace(parsed, send_at=send_at, expires_at=expires_at)


class Book:
    """A whole ledger on one slate, and the changes made to it."""

    def __init__(self) -> None:
        self.slate = Slate()
        self.rules = LedgerRules(lease=LEASE)

    @property
    def record(self) -> CommandRecord | None:
        return self.slate.commands.get("order-17")

    def submission(self, index: int = 0) -> SubmissionRecord:
        assert self.record is not None
        return self.record.submissions[index]

    def apply(self, change: Change) -> object:
        return change.apply(self.slate)

    def claim(
        self,
        index: int = 0,
        *,
        at: float = 0.0,
        owner: str = "one",
        generation: int = 0,
        of: SendSms | None = None,
        redelivered: bool = False,
        adopted_at: float | None = None,
        replay: Replay | None = None,
    ) -> Verdict:
        verdict = self.apply(
            Claim(
                command=of or command(),
                index=index,
                owner=owner,
                now=NOW + at,
                style=STYLE,
                rules=self.rules,
                generation=generation,
                redelivered=redelivered,
                adopted_at=adopted_at,
                replay=replay,
            )
        )
        assert isinstance(verdict, Call | Look | Tell | Later | Conflict | Superseded)
        return verdict

    def file(
        self,
        index: int = 0,
        *,
        at: float = 0.0,
        outcome: Outcome | None = Outcome.SENT,
        retry_in: float = 5.0,
        owner: str = "one",
        attempts: int = 1,
        doubtful: bool = False,
        submitted: bool = False,
        evidence: Evidence | None = None,
    ) -> Filed | None:
        filing = Filing(
            outcome=None,
            result=Result(attempts=attempts),
            retry_at=NOW + at + retry_in,
            doubtful=doubtful,
            submitted=submitted,
        )
        if outcome is not None:
            filing = Filing(outcome=outcome, result=Result(attempts=attempts, message_id="m-1"))
        filed = self.apply(
            File(
                command=command(),
                command_id="order-17",
                index=index,
                owner=owner,
                filing=filing,
                now=NOW + at,
                style=STYLE,
                evidence=evidence,
            )
        )
        assert filed is None or isinstance(filed, Filed)
        return filed

    def resolve(
        self,
        *messages: Evidence,
        at: float,
        owner: str = "one",
        reading: bool = True,
        of: SendSms | None = None,
    ) -> Filed | None:
        """File a look that was taken just now."""
        filed = self.apply(
            Resolve(
                command=of or command(),
                command_id="order-17",
                index=0,
                owner=owner,
                reading=Reading(messages=messages, read_at=NOW + at) if reading else None,
                now=NOW + at,
                style=STYLE,
                rules=self.rules,
            )
        )
        assert filed is None or isinstance(filed, Filed)
        return filed

    def hand_over(self, generation: int) -> object:
        return self.apply(HandOver(command_id="order-17", generation=generation, now=NOW))

    def carry(self, index: int) -> object:
        return self.apply(Carry(command_id="order-17", index=index))


def message(message_id: str = "m-7", *, at: float = 0.0, status: str = "DeliveredToNetwork") -> Evidence:
    """Return what the provider says of a message that submission 0 may have sent."""
    return Evidence(
        message_id=message_id,
        sender_address="+16139998877",
        destination_address="+16131234567",
        text_key=text_key("hi"),
        sent_at=NOW + at,
        status=status,
    )


def doubtful(book: Book, *, submitted: bool = False) -> None:
    """Leave submission 0 in doubt since now, and claimed for a look 2 s from now."""
    book.claim()
    book.file(outcome=None, retry_in=2.0, doubtful=True, submitted=submitted)
    book.hand_over(0)
    assert book.claim(at=2, generation=1) == Look(generation=1)


@pytest.fixture
def book() -> Book:
    return Book()


def waiting(book: Book, *, copies: int = 1) -> None:
    """Leave submission 0 waiting until 5 s from now, its copy the `copies`-th."""
    book.claim()
    book.file(outcome=None)
    for generation in range(copies):
        book.hand_over(generation)


def test_a_new_submission_is_claimed_for_a_call(book: Book) -> None:
    assert book.claim() == Call(attempts=0, first_attempt_at=NOW, generation=0)


def test_while_a_claim_may_be_alive_nobody_else_touches_the_submission(book: Book) -> None:
    book.claim()

    assert book.claim(at=1, owner="two") == Later(at=NOW + 1 + LOOK_AGAIN, own=False)
    assert book.claim(at=29.5, owner="two") == Later(at=NOW + LEASE, own=False)


def test_a_claim_whose_commit_went_unheard_is_its_owners_when_asked_again(book: Book) -> None:
    call = book.claim()

    assert isinstance(call, Call)
    assert book.claim(at=1) == call
    book.claim(at=LEASE, owner="two")
    assert book.claim(at=LEASE + 1, owner="two") == Look(generation=0)
    assert book.submission().crashes == 1


def test_a_claim_whose_lease_is_over_may_have_called_and_is_looked_for_before_anything_else(
    book: Book,
) -> None:
    book.claim()

    assert book.claim(at=LEASE, owner="two") == Look(generation=0)
    submission = book.submission()
    assert (submission.state, submission.attempts, submission.crashes) == (DOUBTFUL, 1, 1)
    assert (submission.doubt_from, submission.doubt_until) == (NOW, NOW + LEASE)
    assert isinstance(book.claim(at=LEASE + 1, owner="three"), Later)


def test_an_owner_that_lost_its_claim_can_not_file(book: Book) -> None:
    book.claim()
    book.claim(at=LEASE, owner="two")
    before = book.record

    assert book.file() is None
    assert book.file(outcome=None) is None
    assert book.resolve(message(), at=LEASE) is None
    assert book.record is before


@pytest.mark.parametrize("outcome", [Outcome.SENT, None])
def test_nobody_files_what_he_did_not_claim(book: Book, outcome: Outcome | None) -> None:
    assert book.file(outcome=outcome) is None
    book.claim()
    assert book.file(outcome=outcome, owner="two") is None
    assert book.file(1, outcome=outcome) is None


def test_an_outcome_is_filed_once_and_told_again_byte_for_byte(book: Book) -> None:
    book.claim()

    filed = book.file()
    assert filed is not None
    assert book.file(outcome=Outcome.FAILED) is None
    first, second = book.claim(owner="two"), book.claim(at=1e6, owner="three")
    assert isinstance(first, Tell)
    assert first == second
    assert first.told == filed.told
    assert (first.outcome, first.fresh) == (Outcome.SENT, False)


def test_another_command_with_the_same_id_changes_nothing(book: Book) -> None:
    book.claim()
    before = book.record

    assert book.claim(of=command(message="other")) == Conflict()
    assert book.claim(1, of=command(message="other")) == Conflict()
    assert book.record is before


def test_a_command_that_came_too_late_expires_without_a_call(book: Book) -> None:
    verdict = book.claim(of=command(expires_at=NOW))

    assert isinstance(verdict, Tell)
    assert verdict.outcome is Outcome.EXPIRED
    assert json.loads(verdict.told.body)["data"]["attempts"] == 0


def test_a_command_expires_while_it_waits_for_another_attempt(book: Book) -> None:
    waiting(book)
    verdict = book.claim(at=6, generation=1, of=command(expires_at=NOW + 6))

    assert isinstance(verdict, Tell)
    assert verdict.outcome is Outcome.EXPIRED
    assert json.loads(verdict.told.body)["data"]["attempts"] == 1


def test_a_dead_claim_is_looked_for_also_after_the_command_expired(book: Book) -> None:
    book.claim()

    assert book.claim(at=LEASE, owner="two", of=command(expires_at=NOW + 1)) == Look(generation=0)


def test_nothing_is_sent_before_its_time(book: Book) -> None:
    later = command(send_at=NOW + 60)

    assert book.claim(of=later) == Later(at=NOW + 60, own=True, generation=0)
    assert book.hand_over(0) == 1
    assert book.claim(at=59, generation=1, of=later) == Later(at=NOW + 60, own=True, generation=1)
    assert book.claim(at=60, generation=1, of=later) == Call(
        attempts=0, first_attempt_at=NOW + 60, generation=1
    )


def test_a_waiting_submission_is_called_by_its_own_copy_when_it_is_due(book: Book) -> None:
    waiting(book)

    assert book.claim(at=4, generation=1) == Later(at=NOW + 5, own=True, generation=1)
    assert book.claim(at=5, generation=1, owner="two") == Call(attempts=1, first_attempt_at=NOW, generation=1)


@pytest.mark.parametrize("generation", [0, 1])
def test_another_delivery_waits_for_the_copy_and_takes_its_place_once_overdue(
    book: Book, generation: int
) -> None:
    waiting(book, copies=2)

    assert book.claim(at=6, generation=generation) == Later(at=NOW + 5 + OVERDUE, own=False)
    assert book.claim(at=5 + OVERDUE, generation=generation) == Call(
        attempts=1, first_attempt_at=NOW, generation=3
    )
    assert book.hand_over(2) is None
    assert book.hand_over(3) == 4


def test_a_copy_that_comes_after_its_place_was_taken_waits_like_any_duplicate(book: Book) -> None:
    waiting(book)
    book.claim(at=16, owner="two")

    assert book.claim(at=17, owner="three", generation=1) == Later(at=NOW + 17 + LOOK_AGAIN, own=False)


def test_a_delayed_copy_without_a_row_may_have_been_sent(book: Book) -> None:
    assert book.claim(generation=3) == Look(generation=3)
    assert book.claim(1, generation=3) == Look(generation=3)
    assert isinstance(book.claim(generation=3, owner="two"), Later), "while it is looked for"
    assert book.submission().doubt_until == NOW


def test_waiting_for_the_account_costs_no_attempt_and_starts_no_budget(book: Book) -> None:
    book.claim()
    book.file(outcome=None, attempts=0)

    assert book.claim(at=100) == Call(attempts=0, first_attempt_at=NOW + 100, generation=0)


def test_each_destination_has_a_life_of_its_own(book: Book) -> None:
    book.claim(0)
    book.file(0)

    assert book.claim(1) == Call(attempts=0, first_attempt_at=NOW, generation=0)
    assert isinstance(book.claim(0), Tell)
    assert isinstance(book.claim(1, owner="two"), Later)


def test_a_copy_does_not_tell_again_what_its_maker_told(book: Book) -> None:
    book.claim(1)
    book.file(1)
    waiting(book)

    assert book.claim(1, generation=1) == Superseded()
    assert isinstance(book.claim(1, generation=0), Tell)


def test_a_copy_tells_what_was_filed_since_its_maker_looked(book: Book) -> None:
    book.claim(1, owner="zombie")
    book.claim(0)
    book.file(0, outcome=None)
    book.file(1, owner="zombie")
    book.hand_over(0)
    book.carry(0)
    book.carry(1)

    assert isinstance(book.claim(1, generation=1), Tell)


def test_a_copy_tells_what_is_filed_after_it_was_made(book: Book) -> None:
    book.claim(1, owner="zombie")
    waiting(book)
    book.file(1, owner="zombie")

    assert isinstance(book.claim(1, generation=1), Tell)


def test_of_two_deliveries_of_one_generation_one_hands_over(book: Book) -> None:
    book.claim()

    assert book.hand_over(0) == 1
    assert book.hand_over(0) is None
    assert book.hand_over(1) == 2


def test_nothing_known_is_nothing_to_hand_over_carry_or_file(book: Book) -> None:
    assert book.hand_over(0) is None
    assert book.carry(0) is None
    assert book.file() is None
    assert book.resolve(message(), at=0) is None
    assert book.record is None
