"""The ledger's rules: the state that a delivery finds, and the actions that it permits."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.domain.command_parser import parse_command
from bridge.domain.commands import CommandRules, SendSms
from bridge.domain.evidence import Evidence, HistoryExtract
from bridge.domain.ledger import (
    IN_DOUBT,
    WAITING,
    Call,
    Change,
    Claim,
    ClockSet,
    CommandRecord,
    Conflict,
    HasOutcome,
    IncludeInCopy,
    Lookup,
    NewVersion,
    NextStep,
    NotBefore,
    RecordAnswer,
    RecordedResult,
    Replay,
    Resolve,
    Restored,
    SubmissionRecord,
    Superseded,
    UnitOfWork,
    Verdict,
)
from bridge.domain.ledger.claim import OVERDUE, POLL_AGAIN
from bridge.domain.match_keys import text_key
from bridge.domain.outcomes import EventFormat, Outcome, SubmissionResult
from bridge.domain.rules import LedgerRules, ReconcileRules, RetryRules
from tests.harness.commands import NOW, read_command
from tests.harness.contract_check import event_of

if TYPE_CHECKING:
    from typing import Literal

LEASE = 30.0
STYLE = EventFormat(source="/sms-bridge/sms")


def command(*, to: str = "+16131234567", message: str = "hi", **changes: float) -> SendSms:
    return read_command({"destination_address": [to, "+16131234568"], "message": message}, **changes)


class Book:
    """A complete ledger in one unit of work, and its changes."""

    def __init__(self) -> None:
        self.unit = UnitOfWork()
        self.rules = LedgerRules(lease=LEASE)

    @property
    def record(self) -> CommandRecord | None:
        return self.unit.commands.get("order-17")

    def submission(self, index: int = 0) -> SubmissionRecord:
        assert self.record is not None
        return self.record.submissions[index]

    def apply(self, change: Change) -> object:
        return change.apply(self.unit)

    def claim(
        self,
        index: int = 0,
        *,
        at: float = 0.0,
        owner: str = "one",
        version: int = 0,
        copy_version: int | None = None,
        of: SendSms | None = None,
        redelivered: bool = False,
        restored: Restored | None = None,
        published_at: float | None = None,
        replay: Replay | None = None,
    ) -> Verdict:
        self.unit.restored = restored
        verdict = self.apply(
            Claim(
                command=of or command(),
                index=index,
                owner=owner,
                now=NOW + at,
                style=STYLE,
                rules=self.rules,
                version=version,
                copy_version=version if copy_version is None else copy_version,
                redelivered=redelivered,
                published_at=published_at,
                replay=replay,
            )
        )
        assert isinstance(verdict, Call | Lookup | HasOutcome | NotBefore | Conflict | Superseded)
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
        in_doubt: bool = False,
        submitted: bool = False,
        evidence: Evidence | None = None,
    ) -> RecordedResult | None:
        next_step = NextStep(
            outcome=None,
            result=SubmissionResult(attempts=attempts),
            retry_at=NOW + at + retry_in,
            in_doubt=in_doubt,
            submitted=submitted,
        )
        if outcome is not None:
            message_id = "m-1" if outcome in (Outcome.SENT, Outcome.UNDELIVERABLE) else None
            next_step = NextStep(
                outcome=outcome, result=SubmissionResult(attempts=attempts, message_id=message_id)
            )
        recorded = self.apply(
            RecordAnswer(
                command=command(),
                command_id="order-17",
                index=index,
                owner=owner,
                next_step=next_step,
                now=NOW + at,
                style=STYLE,
                evidence=evidence,
            )
        )
        assert recorded is None or isinstance(recorded, RecordedResult)
        return recorded

    def resolve(
        self,
        *messages: Evidence,
        at: float,
        owner: str = "one",
        reading: bool = True,
        of: SendSms | None = None,
    ) -> RecordedResult | None:
        """Record a lookup made just now."""
        recorded = self.apply(
            Resolve(
                command=of or command(),
                command_id="order-17",
                index=0,
                owner=owner,
                reading=HistoryExtract(messages=messages, total=len(messages), read_at=NOW + at)
                if reading
                else None,
                now=NOW + at,
                style=STYLE,
                rules=self.rules,
            )
        )
        assert recorded is None or isinstance(recorded, RecordedResult)
        return recorded

    def set_clock(self, at: float) -> None:
        """Record that the clock was set to this time."""
        self.apply(ClockSet(now=NOW + at, rules=self.rules))

    def hand_over(self, version: int) -> object:
        return self.apply(NewVersion(command_id="order-17", version=version, now=NOW))

    def include(self, index: int) -> object:
        return self.apply(IncludeInCopy(command_id="order-17", index=index))


def outcome_of(answer: Verdict | RecordedResult | None) -> Outcome | None:
    """Return the outcome that a claim, a record or a lookup has shown."""
    assert isinstance(answer, RecordedResult | HasOutcome)
    return answer.outcome


def message(message_id: str = "m-7", *, at: float = 0.0, status: str = "DeliveredToNetwork") -> Evidence:
    """Return the provider's message that submission 0 may have sent."""
    return Evidence(
        message_id=message_id,
        sender_address="+16139998877",
        destination_address="+16131234567",
        text_key=text_key("hi"),
        sent_at=NOW + at,
        status=status,
    )


def in_doubt(book: Book, *, submitted: bool = False) -> None:
    """Leave submission 0 in doubt since now, and claimed for a lookup 2 s from now."""
    book.claim()
    book.file(outcome=None, retry_in=2.0, in_doubt=True, submitted=submitted)
    book.hand_over(0)
    assert book.claim(at=2, version=1) == Lookup(version=1)


@pytest.fixture
def book() -> Book:
    return Book()


def waiting(book: Book, *, copies: int = 1) -> None:
    """Leave submission 0 waiting until 5 s from now, its copy the `copies`-th."""
    book.claim()
    book.file(outcome=None)
    for version in range(copies):
        book.hand_over(version)


def test_new_submission_is_claimed_for_a_call(book: Book) -> None:
    assert book.claim() == Call(attempts=0, first_attempt_at=NOW, version=0)


def test_no_other_worker_touches_a_submission_under_a_lease(book: Book) -> None:
    book.claim()

    assert book.claim(at=1, owner="two") == NotBefore(at=NOW + 1 + POLL_AGAIN, own=False)
    assert book.claim(at=29.5, owner="two") == NotBefore(at=NOW + LEASE, own=False)


def test_claim_with_an_unconfirmed_commit_belongs_to_its_owner_on_retry(book: Book) -> None:
    call = book.claim()

    assert isinstance(call, Call)
    assert book.claim(at=1) == call
    book.claim(at=LEASE, owner="two")
    assert book.claim(at=LEASE + 1, owner="two") == Lookup(version=0)
    assert book.submission().crashes == 1


def test_claim_with_an_expired_lease_is_looked_up_first(
    book: Book,
) -> None:
    book.claim()

    assert book.claim(at=LEASE, owner="two") == Lookup(version=0)
    submission = book.submission()
    assert (submission.state, submission.attempts, submission.crashes) == (IN_DOUBT, 1, 1)
    assert (submission.doubt_from, submission.doubt_until) == (NOW, NOW + LEASE)
    assert isinstance(book.claim(at=LEASE + 1, owner="three"), NotBefore)


def test_owner_that_lost_its_claim_can_not_record(book: Book) -> None:
    book.claim()
    book.claim(at=LEASE, owner="two")
    before = book.record

    assert book.file() is None
    assert book.file(outcome=None) is None
    assert book.resolve(message(), at=LEASE) is None
    assert book.record is before


@pytest.mark.parametrize("outcome", [Outcome.SENT, None])
def test_result_without_a_claim_is_not_recorded(book: Book, outcome: Outcome | None) -> None:
    assert book.file(outcome=outcome) is None
    book.claim()
    assert book.file(outcome=outcome, owner="two") is None
    assert book.file(1, outcome=outcome) is None


def test_outcome_is_recorded_once_and_republished_byte_for_byte(book: Book) -> None:
    book.claim()

    recorded = book.file()
    assert recorded is not None
    assert book.file(outcome=Outcome.FAILED) is None
    first, second = book.claim(owner="two"), book.claim(at=1e6, owner="three")
    assert isinstance(first, HasOutcome)
    assert first == second
    assert first.stored_event == recorded.stored_event
    assert (first.outcome, first.fresh) == (Outcome.SENT, False)


def test_another_command_with_the_same_id_changes_nothing(book: Book) -> None:
    book.claim()
    before = book.record

    assert book.claim(of=command(message="other")) == Conflict()
    assert book.claim(1, of=command(message="other")) == Conflict()
    assert book.record is before


def test_command_that_came_too_late_expires_without_a_call(book: Book) -> None:
    verdict = book.claim(of=command(expires_at=NOW))

    assert isinstance(verdict, HasOutcome)
    assert verdict.outcome is Outcome.EXPIRED
    assert event_of(verdict.stored_event.body)["data"]["attempts"] == 0


def test_command_expires_while_it_waits_for_another_attempt(book: Book) -> None:
    waiting(book)
    verdict = book.claim(at=6, version=1, of=command(expires_at=NOW + 6))

    assert isinstance(verdict, HasOutcome)
    assert verdict.outcome is Outcome.EXPIRED
    assert event_of(verdict.stored_event.body)["data"]["attempts"] == 1


def test_expired_claim_is_looked_up_also_after_the_command_expired(book: Book) -> None:
    book.claim()

    assert book.claim(at=LEASE, owner="two", of=command(expires_at=NOW + 1)) == Lookup(version=0)


def test_nothing_is_sent_before_its_time(book: Book) -> None:
    later = command(send_at=NOW + 60)

    assert book.claim(of=later) == NotBefore(at=NOW + 60, own=True, version=0)
    assert book.hand_over(0) == 1
    assert book.claim(at=59, version=1, of=later) == NotBefore(at=NOW + 60, own=True, version=1)
    assert book.claim(at=60, version=1, of=later) == Call(attempts=0, first_attempt_at=NOW + 60, version=1)


def test_waiting_submission_is_called_by_its_own_copy_when_it_is_due(book: Book) -> None:
    waiting(book)

    assert book.claim(at=4, version=1) == NotBefore(at=NOW + 5, own=True, version=1)
    assert book.claim(at=5, version=1, owner="two") == Call(attempts=1, first_attempt_at=NOW, version=1)


@pytest.mark.parametrize("version", [0, 1])
def test_another_delivery_waits_for_the_copy_and_replaces_it_once_overdue(book: Book, version: int) -> None:
    waiting(book, copies=2)

    assert book.claim(at=6, version=version) == NotBefore(at=NOW + 5 + OVERDUE, own=False)
    assert book.claim(at=5 + OVERDUE, version=version) == Call(attempts=1, first_attempt_at=NOW, version=3)
    assert book.hand_over(2) is None
    assert book.hand_over(3) == 4


def test_stale_copy_waits_like_any_duplicate(book: Book) -> None:
    waiting(book)
    book.claim(at=16, owner="two")

    assert book.claim(at=17, owner="three", version=1) == NotBefore(at=NOW + 17 + POLL_AGAIN, own=False)


def test_delayed_copy_without_a_row_may_have_been_sent(book: Book) -> None:
    assert book.claim(version=3) == Lookup(version=3)
    assert book.claim(1, version=3) == Lookup(version=3)
    assert isinstance(book.claim(version=3, owner="two"), NotBefore), "during its lookup"
    assert book.submission().doubt_until == NOW


def test_waiting_for_the_account_costs_no_attempt_and_starts_no_budget(book: Book) -> None:
    book.claim()
    book.file(outcome=None, attempts=0)

    assert book.claim(at=100) == Call(attempts=0, first_attempt_at=NOW + 100, version=0)


def test_each_destination_has_a_separate_replay_number(book: Book) -> None:
    book.claim(0)
    book.file(0)

    assert book.claim(1) == Call(attempts=0, first_attempt_at=NOW, version=0)
    assert isinstance(book.claim(0), HasOutcome)
    assert isinstance(book.claim(1, owner="two"), NotBefore)


def test_copy_does_not_republish_outcomes_that_its_maker_published(book: Book) -> None:
    book.claim(1)
    book.file(1)
    waiting(book)

    assert book.claim(1, version=1) == Superseded()
    assert isinstance(book.claim(1, version=0), HasOutcome)


def test_unpublished_outcome_is_published_by_the_delivery_that_replaced_a_copy(
    book: Book,
) -> None:
    book.claim(1, owner="dies before it tells")
    waiting(book)
    book.file(1, owner="dies before it tells")
    taken_over = book.claim(0, at=5 + OVERDUE, owner="heir")

    assert isinstance(taken_over, Call)
    assert taken_over.version == 2, "later than the record, and it has published nothing"
    assert isinstance(book.claim(1, at=5 + OVERDUE, owner="heir", version=2, copy_version=0), HasOutcome)


def test_copy_publishes_outcomes_recorded_since_its_maker_read_the_ledger(book: Book) -> None:
    book.claim(1, owner="zombie")
    book.claim(0)
    book.file(0, outcome=None)
    book.file(1, owner="zombie")
    book.hand_over(0)
    book.include(0)
    book.include(1)

    assert isinstance(book.claim(1, version=1), HasOutcome)


def test_copy_publishes_outcomes_recorded_after_it_was_made(book: Book) -> None:
    book.claim(1, owner="zombie")
    waiting(book)
    book.file(1, owner="zombie")

    assert isinstance(book.claim(1, version=1), HasOutcome)


def test_one_of_two_deliveries_of_a_version_is_rescheduled(book: Book) -> None:
    book.claim()

    assert book.hand_over(0) == 1
    assert book.hand_over(0) is None
    assert book.hand_over(1) == 2


def test_unknown_submission_is_neither_rescheduled_nor_included_in_the_copy(book: Book) -> None:
    assert book.hand_over(0) is None
    assert book.include(0) is None
    assert book.record is None


# --- doubt -----------------------------------------------------------------------------------------------------------


def test_found_message_is_sent_and_marked_as_reconciled(book: Book) -> None:
    in_doubt(book)
    recorded = book.resolve(message(), at=2)

    assert recorded is not None
    assert (recorded.outcome, recorded.stored_event) == (Outcome.SENT, book.submission().stored_event)
    assert recorded.stored_event is not None
    data = event_of(recorded.stored_event.body)["data"]
    assert (data["message_id"], data["reconciled"], data["attempts"]) == ("m-7", True, 1)
    assert data["sender_address"] == "+16139998877"
    assert book.submission().message_id == "m-7"


def test_found_message_with_delivery_impossible_is_undeliverable(book: Book) -> None:
    in_doubt(book)

    assert outcome_of(book.resolve(message(status="DeliveryImpossible"), at=2)) is Outcome.UNDELIVERABLE


def test_message_not_found_yet_is_looked_up_again_and_costs_no_attempt(book: Book) -> None:
    in_doubt(book)
    recorded = book.resolve(at=2)

    assert recorded is not None
    assert recorded.outcome is None
    assert recorded.retry_at is not None
    assert NOW + 2 < recorded.retry_at <= NOW + 60
    assert (book.submission().state, book.submission().attempts) == (IN_DOUBT, 1)


def test_unsent_submission_is_sent_again_at_once(book: Book) -> None:
    in_doubt(book)

    assert book.resolve(at=61) == RecordedResult(retry_at=NOW + 61, lookup_result="not_found")
    assert book.claim(at=61, version=1, owner="two") == Call(attempts=1, first_attempt_at=NOW, version=1)


def test_unsent_submission_past_its_expiry_is_expired(book: Book) -> None:
    in_doubt(book)

    assert outcome_of(book.resolve(at=61, of=command(expires_at=NOW + 60))) is Outcome.EXPIRED


@pytest.mark.parametrize(
    ("max_age", "outcome"), [(0.0, Outcome.FAILED), (1.0, None), (30.0, None), (61.0, None)]
)
def test_submission_fails_only_after_an_attempt_past_the_budget_and_not_after_a_long_lookup(
    book: Book, max_age: float, outcome: Outcome | None
) -> None:
    book.rules = replace(book.rules, retry=RetryRules(max_age=max_age))
    in_doubt(book)

    assert outcome_of(book.resolve(at=61)) is outcome


def test_unsent_submission_is_unknown_if_on_absent_is_not_resend(book: Book) -> None:
    book.rules = replace(book.rules, reconcile=ReconcileRules(on_absent="park"))
    in_doubt(book)

    assert outcome_of(book.resolve(at=61)) is Outcome.UNKNOWN


@pytest.mark.parametrize(("on_unknown", "outcome"), [("park", Outcome.UNKNOWN), ("resend", None)])
def test_submission_without_a_history_is_unknown_or_sent_again_as_configured(
    book: Book, on_unknown: Literal["park", "resend"], outcome: Outcome | None
) -> None:
    book.rules = replace(
        book.rules, reconcile=ReconcileRules(on_unknown=on_unknown), retry=RetryRules(max_age=70.0)
    )
    in_doubt(book)

    assert outcome_of(book.resolve(at=71, reading=False)) is outcome


def test_failed_lookup_of_an_old_command_is_tried_again(book: Book) -> None:
    book.rules = replace(book.rules, retry=RetryRules(max_age=1.0))
    in_doubt(book)

    assert outcome_of(book.resolve(at=2, reading=False)) is None


@pytest.mark.parametrize("reading", [True, False])
def test_accepted_submission_is_sent_also_without_a_message_id(book: Book, reading: bool) -> None:
    in_doubt(book, submitted=True)

    assert outcome_of(book.resolve(at=86_401, reading=reading)) is Outcome.SENT
    assert book.submission().message_id is None


def test_national_number_in_doubt_can_not_be_looked_up(book: Book) -> None:
    national = command(to="6131234567")
    book.claim(of=national)
    verdict = book.claim(at=LEASE, owner="two", of=national)

    assert isinstance(verdict, HasOutcome)
    assert (verdict.outcome, verdict.fresh) == (Outcome.UNKNOWN, True)
    assert event_of(verdict.stored_event.body)["data"]["error"]["name"] == "ambiguous"


def test_national_number_whose_message_a_late_answer_names_was_sent(book: Book) -> None:
    national = command(to="6131234567")
    book.claim(of=national)
    book.claim(at=LEASE, owner="two", of=national)
    event_id = book.submission().stored_event.event_id  # type: ignore[union-attr]  # it has ended
    book.file(at=LEASE + 1, evidence=replace(message(), destination_address="6131234567"))
    verdict = book.claim(at=100, of=national, replay=Replay(event_id=event_id))

    assert isinstance(verdict, HasOutcome)
    assert verdict.outcome is Outcome.SENT
    assert event_of(verdict.stored_event.body)["data"]["message_id"] == "m-7"


def test_text_longer_than_any_sms_is_not_looked_up_and_costs_no_time(book: Book) -> None:
    # Normalizing this would take 15 s.
    long = command(message="a" + "\u0301\u0316" * 20_000)
    book.claim(of=long)

    assert outcome_of(book.claim(at=LEASE, owner="two", of=long)) is Outcome.UNKNOWN


def lost(book: Book, of: SendSms, *, at: float, replay: Replay) -> Verdict:
    """Claim for a replay, lose the response, and return the next claim after the lease."""
    assert isinstance(book.claim(at=at, of=of, replay=replay), Call)
    return book.claim(at=at + LEASE, owner="two", of=of)


def test_national_number_is_resent_once_for_each_replay_that_requests_it(book: Book) -> None:
    national = command(to="6131234567")
    book.claim(of=national)
    verdict = book.claim(at=LEASE, owner="two", of=national)
    for replay_number in range(1, 4):
        assert isinstance(verdict, HasOutcome)
        assert verdict.outcome is Outcome.UNKNOWN
        replay = Replay(event_id=verdict.stored_event.event_id, resend=True)
        verdict = lost(book, national, at=100.0 * replay_number, replay=replay)


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.FAILED])
def test_unsent_attempt_after_an_attempt_in_doubt_leaves_the_submission_in_doubt(
    book: Book, outcome: Outcome
) -> None:
    book.rules = replace(book.rules, reconcile=ReconcileRules(on_unknown="resend"))
    in_doubt(book)
    book.resolve(at=86_401, reading=False)
    assert isinstance(book.claim(at=86_402, version=1), HasOutcome | Call)
    recorded = book.file(at=86_403, outcome=outcome)

    assert recorded is not None
    assert recorded.outcome is Outcome.UNKNOWN
    assert recorded.stored_event is not None
    data = event_of(recorded.stored_event.body)["data"]
    assert data["error"]["name"] == "ambiguous"
    assert outcome.value in data["error"]["message"]


def test_submission_in_doubt_from_an_earlier_attempt_does_not_expire(book: Book) -> None:
    book.rules = replace(book.rules, reconcile=ReconcileRules(on_unknown="resend"))
    of = command(expires_at=NOW + 90_000)
    in_doubt(book)
    book.resolve(at=86_401, reading=False, of=of)

    assert outcome_of(book.claim(at=90_001, version=1, of=of)) is Outcome.UNKNOWN


def test_submission_without_a_history_is_not_sent_again_after_its_expiry(book: Book) -> None:
    book.rules = replace(book.rules, reconcile=ReconcileRules(on_unknown="resend"))
    in_doubt(book)

    assert (
        outcome_of(book.resolve(at=86_401, reading=False, of=command(expires_at=NOW + 100)))
        is Outcome.UNKNOWN
    )


def test_submission_without_a_history_is_sent_again_until_max_age(book: Book) -> None:
    book.rules = replace(
        book.rules, reconcile=ReconcileRules(on_unknown="resend"), retry=RetryRules(max_age=600.0)
    )
    national, calls, at = command(to="6131234567"), 0, 0.0
    verdict = book.claim(of=national)
    while isinstance(verdict, Call):
        calls, at = calls + 1, at + LEASE
        verdict = book.claim(at=at, owner=f"at {at}", of=national)

    assert isinstance(verdict, HasOutcome)
    assert verdict.outcome is Outcome.UNKNOWN
    assert calls > 1
    assert at <= 600 + LEASE


def test_lookup_that_covers_all_attempts_resolves_each_of_them(book: Book) -> None:
    book.rules = replace(book.rules, reconcile=ReconcileRules(on_unknown="resend"))
    in_doubt(book)
    book.resolve(at=86_401, reading=False)
    book.claim(at=86_402, version=1)
    book.file(at=86_403, outcome=None, in_doubt=True)
    book.claim(at=86_410, version=1)
    book.resolve(at=86_500)

    assert book.submission().outcome is Outcome.FAILED


def test_message_is_found_after_the_configured_sender_changed(book: Book) -> None:
    rules = CommandRules(default_sender="+16130000001")
    parsed = parse_command(
        b'{"id":"order-17","destination_address":["+16131234567","+16131234568"],"message":"hi"}',
        None,
        rules=rules,
        now=NOW,
    )
    assert isinstance(parsed, SendSms)
    in_doubt(book)

    assert (
        outcome_of(book.resolve(replace(message(), sender_address="+16130000002"), at=5, of=parsed))
        is Outcome.SENT
    )


def test_number_normalized_differently_than_at_its_attempt_is_not_looked_up(book: Book) -> None:
    in_doubt(book)

    assert outcome_of(book.resolve(at=61, of=command(to="+441632960001"))) is Outcome.UNKNOWN


def test_attempt_of_an_identical_submission_is_waited_for_a_limited_time(book: Book) -> None:
    in_doubt(book)
    other = replace(command(), id="order-18", content_hash=b"other")
    book.apply(Claim(command=other, index=0, owner="other", now=NOW, style=STYLE, rules=book.rules))

    # The other call began 5 s ago, so the history is read again in 5 s.
    assert book.resolve(message(), at=5) == RecordedResult(retry_at=NOW + 10, lookup_result="again")
    book.claim(at=86_400 + LEASE, version=1)
    assert outcome_of(book.resolve(message(), at=86_400 + LEASE)) is Outcome.SENT


# --- crashes ---------------------------------------------------------------------------------------------------------


def crash(book: Book, times: int, *, first_at: float) -> Verdict:
    """Let the worker crash that often during a lookup; return the last claim's result."""
    at, verdict = first_at, Lookup(version=1)
    for number in range(times):
        at += LEASE
        verdict = book.claim(at=at, owner=f"heir {number}", version=1, redelivered=True)  # type: ignore[assignment]
    return verdict


def test_submission_that_crashes_workers_is_given_up(book: Book) -> None:
    in_doubt(book)

    assert crash(book, 4, first_at=2.0) == Lookup(version=1)
    verdict = book.claim(at=200, owner="last", version=1)
    assert isinstance(verdict, HasOutcome)
    assert verdict.outcome is Outcome.UNKNOWN
    assert event_of(verdict.stored_event.body)["data"]["error"]["name"] == "poison"


def test_accepted_submission_is_sent_after_any_number_of_worker_crashes(book: Book) -> None:
    in_doubt(book, submitted=True)
    verdict = crash(book, 5, first_at=2.0)

    assert isinstance(verdict, HasOutcome)
    assert verdict.outcome is Outcome.SENT


def test_crash_during_a_lookup_leaves_the_submission_in_doubt(book: Book) -> None:
    in_doubt(book)
    before = book.submission()
    crash(book, 1, first_at=2.0)
    after = book.submission()

    assert (after.doubt_from, after.doubt_until) == (before.doubt_from, before.doubt_until)
    assert (after.attempts, after.crashes) == (1, 1)


def test_late_response_without_a_claim_belongs_to_its_submission(book: Book) -> None:
    book.claim()
    book.claim(at=LEASE, owner="two")

    assert book.file(at=LEASE + 1, evidence=message()) is None
    assert book.submission().message_id == "m-7"
    assert outcome_of(book.resolve(at=LEASE + 2, owner="two", reading=False)) is Outcome.SENT


@pytest.mark.parametrize("reading", [True, False])
def test_message_named_by_a_late_response_is_sent_without_the_history(book: Book, reading: bool) -> None:
    book.rules = replace(
        book.rules, reconcile=ReconcileRules(on_absent="park"), retry=RetryRules(max_age=70.0)
    )
    book.claim()
    book.claim(at=LEASE, owner="two")
    book.file(at=LEASE + 1, evidence=message())
    book.unit.seen.clear()
    recorded = book.resolve(at=86_400, owner="two", reading=reading)

    assert recorded is not None
    assert (recorded.outcome, book.submission().message_id) == (Outcome.SENT, "m-7")
    assert recorded.stored_event is not None
    assert json.loads(recorded.stored_event.body)["data"]["message_id"] == "m-7"


def test_late_answer_takes_no_message_that_another_submission_owns(book: Book) -> None:
    book.claim(1)
    book.file(1)
    book.claim()
    book.claim(at=LEASE, owner="two")
    book.file(at=LEASE + 1, evidence=message("m-1"))

    assert book.submission().message_id is None


def test_message_named_by_a_late_response_is_not_sent_again(book: Book) -> None:
    book.claim()
    book.claim(at=LEASE, owner="two")
    book.resolve(at=LEASE + 60, owner="two")
    book.file(at=LEASE + 61, evidence=message())

    assert book.claim(at=LEASE + 62) == Lookup(version=0)
    assert outcome_of(book.resolve(at=LEASE + 63)) is Outcome.SENT
    assert book.submission().message_id == "m-7"


def test_message_named_by_a_late_response_is_looked_up_when_its_dead_letter_is_replayed(book: Book) -> None:
    book.claim()
    book.claim(at=LEASE, owner="two")
    book.resolve(at=LEASE + 60, owner="two")
    book.claim(at=LEASE + 60, owner="two")
    book.file(at=LEASE + 61, evidence=message())
    book.apply(
        RecordAnswer(
            command=command(),
            command_id="order-17",
            index=0,
            owner="two",
            next_step=NextStep(outcome=Outcome.REJECTED, result=SubmissionResult(attempts=2)),
            now=NOW + LEASE + 62,
            style=STYLE,
        )
    )
    stored_event = book.submission().stored_event

    assert stored_event is not None
    assert book.submission().message_id == "m-7"
    assert book.claim(at=LEASE + 63, replay=Replay(event_id=stored_event.event_id)) == Lookup(version=1)


# --- pruned ledgers --------------------------------------------------------------------------------------------------


def test_response_without_a_claim_leaves_the_submission_in_doubt(book: Book) -> None:
    assert book.file(evidence=message()) is None
    assert book.claim(redelivered=True) == Lookup(version=0)
    assert outcome_of(book.resolve(at=1)) is Outcome.SENT


def test_lookup_without_a_claim_leaves_the_submission_in_doubt(book: Book) -> None:
    assert book.resolve(message(), at=0) is None
    assert book.claim(redelivered=True) == Lookup(version=0)


def test_copy_that_is_newer_than_the_ledger_may_have_been_sent(book: Book) -> None:
    waiting(book)
    newer = Claim(
        command=command(),
        index=0,
        owner="two",
        now=NOW + 60,
        style=STYLE,
        rules=book.rules,
        version=3,
        delayed=True,
    )

    assert book.apply(newer) == Lookup(version=3)
    assert book.submission().doubt_until == NOW + 60
    assert book.hand_over(3) == 4


def test_copy_without_a_token_and_a_row_may_have_been_sent_too(book: Book) -> None:
    verdict = book.apply(
        Claim(command=command(), index=0, owner="one", now=NOW, style=STYLE, rules=book.rules, delayed=True)
    )

    assert verdict == Lookup(version=0)


# --- replays ---------------------------------------------------------------------------------------------------------


def ended(book: Book, outcome: Outcome) -> str:
    """End submission 0 and return the id of its outcome's event."""
    book.claim()
    recorded = book.file(outcome=outcome)
    assert recorded is not None
    assert recorded.stored_event is not None
    return recorded.stored_event.event_id


def dead_lettered(book: Book) -> str:
    book.rules = replace(book.rules, reconcile=ReconcileRules(on_absent="park"))
    in_doubt(book)
    recorded = book.resolve(at=61)
    assert recorded is not None
    assert recorded.stored_event is not None
    return recorded.stored_event.event_id


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.REJECTED])
def test_replayed_unsent_submission_is_sent_again(book: Book, outcome: Outcome) -> None:
    replay = Replay(event_id=ended(book, outcome))

    assert book.claim(at=100, owner="two", replay=replay) == Call(
        attempts=0, first_attempt_at=NOW + 100, version=1
    )
    assert isinstance(book.claim(at=101, owner="three", replay=replay), NotBefore)
    recorded = book.file(owner="two")
    assert recorded is not None
    assert recorded.stored_event is not None
    assert recorded.stored_event.event_id != replay.event_id
    # If the third is the second again and its commit is unconfirmed, no other delivery leaves a dead letter.
    again = HasOutcome(outcome=Outcome.SENT, stored_event=recorded.stored_event, own=True)
    assert book.claim(at=102, owner="four", replay=replay) == again
    assert book.claim(at=103, owner="five", replay=Replay(event_id="another")) == replace(again, own=False)


@pytest.mark.parametrize("outcome", [Outcome.SENT, Outcome.UNDELIVERABLE])
def test_other_outcomes_are_never_resent(book: Book, outcome: Outcome) -> None:
    replay = Replay(event_id=ended(book, outcome), resend=True)
    verdict = book.claim(at=100, owner="two", replay=replay)

    assert isinstance(verdict, HasOutcome)
    assert verdict.stored_event.event_id == replay.event_id


def test_dead_letter_of_another_outcome_reopens_nothing(book: Book) -> None:
    ended(book, Outcome.FAILED)

    assert isinstance(book.claim(at=100, owner="two", replay=Replay(event_id="another")), HasOutcome)


@pytest.mark.parametrize(("resend", "outcome"), [(False, Outcome.UNKNOWN), (True, None)])
def test_replayed_unknown_submission_is_looked_up_and_sent_again_only_with_resend(
    book: Book, resend: bool, outcome: Outcome | None
) -> None:
    replay = Replay(event_id=dead_lettered(book), resend=resend)

    assert book.claim(at=200, replay=replay, version=1) == Lookup(version=2)
    assert outcome_of(book.resolve(at=200)) is outcome


def test_resent_submission_in_doubt_is_not_sent_a_third_time(book: Book) -> None:
    replay = Replay(event_id=dead_lettered(book), resend=True)
    book.claim(at=200, replay=replay, version=1)
    book.resolve(at=200)
    assert isinstance(book.claim(at=200, replay=replay, version=2), Call)
    book.file(at=201, outcome=None, retry_in=2.0, in_doubt=True)
    book.claim(at=203, version=2)

    assert outcome_of(book.resolve(at=300)) is Outcome.UNKNOWN


def test_message_that_shows_late_is_found_by_a_replay(book: Book) -> None:
    replay = Replay(event_id=dead_lettered(book), resend=True)
    book.claim(at=1000, replay=replay, version=1)

    assert outcome_of(book.resolve(message(at=1.0), at=1000)) is Outcome.SENT


def test_clock_set_ahead_ends_no_lease_and_proves_no_absence(book: Book) -> None:
    grace_end = LEASE + book.rules.reconcile.settle
    day = 86_400.0
    book.claim(owner="calling")
    book.set_clock(day)

    assert book.claim(at=day + 1, owner="two") == NotBefore(at=NOW + day + grace_end, own=False)
    assert book.claim(at=day + grace_end, owner="two") == Lookup(version=0)
    book.set_clock(2 * day)
    assert book.resolve(at=2 * day + 1, owner="two") == RecordedResult(
        retry_at=NOW + 2 * day + grace_end, lookup_result="again"
    )
    book.claim(at=2 * day + grace_end, owner="three")
    recorded = book.resolve(at=2 * day + grace_end, owner="three")
    assert recorded is not None
    assert book.submission().state == WAITING, "then its absence is believed"


def test_new_submission_is_sent_after_any_step_of_the_clock(book: Book) -> None:
    book.set_clock(-86_400.0)

    assert isinstance(book.claim(at=-86_400.0), Call)


def test_found_message_is_accepted_after_any_step_of_the_clock(book: Book) -> None:
    book.claim()
    book.file(outcome=None, in_doubt=True)
    book.claim(at=5, owner="two")
    book.set_clock(6)

    assert outcome_of(book.resolve(message(at=1), at=7, owner="two")) is Outcome.SENT


def test_lease_from_before_the_clock_was_set_back_ends_like_one_of_today(book: Book) -> None:
    day = 86_400.0
    book.claim(at=day, owner="gone")
    book.set_clock(0)

    assert book.claim(at=1, owner="two") == NotBefore(at=NOW + 1 + POLL_AGAIN, own=False)
    grace_end = LEASE + book.rules.reconcile.settle
    assert book.claim(at=grace_end, owner="two") == Lookup(version=0)
    submission = book.submission()
    assert submission.doubt_from == NOW + 1 - book.rules.retry.max_age, "the time of the call is unknown"


def test_attempt_before_the_clock_was_set_back_is_looked_up_in_the_whole_possible_window(book: Book) -> None:
    day = 86_400.0
    book.claim(at=day)
    book.file(at=day, outcome=None, in_doubt=True, retry_in=2)
    book.set_clock(0)

    assert book.claim(at=100) == Lookup(version=0), "not a day later"
    assert book.resolve(at=100, reading=False) is not None
    assert book.submission().doubt_until == NOW + day, (
        "without a history it may be today's time that is wrong"
    )
    assert isinstance(book.claim(at=200), Lookup)
    book.resolve(at=200)
    submission = book.submission()
    assert submission.doubt_from == NOW + 200 - book.rules.retry.max_age
    assert submission.doubt_until == NOW + 200


def test_response_after_the_clock_was_set_back_is_in_doubt_in_both_times(book: Book) -> None:
    book.claim(at=1000)
    book.file(at=10, outcome=None, in_doubt=True)

    assert (book.submission().doubt_from, book.submission().doubt_until) == (NOW + 10, NOW + 1000)
