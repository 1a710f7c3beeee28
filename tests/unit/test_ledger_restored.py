"""A restored ledger: deliveries that may belong to lost calls, and their results."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.evidence import Evidence, HistoryExtract
from bridge.domain.ledger import (
    IN_DOUBT,
    Call,
    Claim,
    Lookup,
    NotBefore,
    RecordedResult,
    Replay,
    Resolve,
    Restored,
    restored,
)
from bridge.domain.ledger.lost_rows import CLOCKS
from bridge.domain.match_keys import text_key
from bridge.domain.outcomes import Outcome
from bridge.domain.rules import ReconcileRules
from tests.harness.commands import NOW
from tests.unit.test_ledger_rules import STYLE, Book, command, waiting

if TYPE_CHECKING:
    from bridge.domain.commands import SendSms

HOUR, DAY = 3600.0, 86_400.0
#: Restored at `NOW`; calls may be lost from a minute before its last commit, ten seconds earlier.
LOST = Restored(at=NOW, since=NOW - 70.0)
LONG = "Twój kod to 4711, ważny przez pięć minut, nie podawaj go nikomu, dziękujemy"


@pytest.fixture
def book() -> Book:
    return Book()


def found(
    book: Book, text: str = "hi", *, at: float = 1.0, complete: bool = True, of: SendSms | None = None
) -> Outcome | float | None:
    """Resolve a lookup with a message of `text` in the history, if any; return the outcome or the next time."""
    message = Evidence(
        message_id="m-9",
        sender_address="+16139998877",
        destination_address="+16131234567",
        text_key=text_key(text),
        text=text,
        sent_at=NOW - 30.0,
    )
    reading = HistoryExtract(
        messages=(message,) if text else (), total=900, complete=complete, read_at=NOW + at
    )
    resolve = Resolve(
        command=of or command(),
        command_id="order-17",
        index=0,
        owner="one",
        reading=reading,
        now=NOW + at,
        style=STYLE,
        rules=book.rules,
    )
    recorded = book.apply(resolve)
    assert isinstance(recorded, RecordedResult)
    return recorded.outcome or recorded.retry_at


# -- deliveries of lost calls -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "redelivered", "published_at", "verdict"),
    [
        (HOUR - 1, False, None, Lookup),
        (HOUR - 1, False, NOW + HOUR - 1, Lookup),
        (HOUR + 1, False, None, Call),
        (HOUR + 1, False, NOW + CLOCKS - 1, Lookup),
        (HOUR + 1, False, NOW + CLOCKS + 1, Call),
        (DAY - 1, False, NOW - 1, Lookup),
        (DAY + 1, False, NOW - 1, Call),
        (DAY - 1, True, None, Lookup),
        (DAY + 1, True, None, Call),
    ],
)
def test_unknown_submission_is_looked_up_for_a_time_after_a_restore(
    book: Book, at: float, redelivered: bool, published_at: float | None, verdict: type
) -> None:
    claimed = book.claim(at=at, redelivered=redelivered, published_at=published_at, restored=LOST)

    assert isinstance(claimed, verdict)


@pytest.mark.parametrize(("redelivered", "verdict"), [(False, Call), (True, Lookup)])
def test_only_redeliveries_are_suspected_without_a_time_in_the_command(
    book: Book, redelivered: bool, verdict: type
) -> None:
    book.rules = replace(book.rules, restored_lookup=0.0)

    assert isinstance(book.claim(at=1, redelivered=redelivered, published_at=NOW - 1, restored=LOST), verdict)


def test_ledger_that_was_never_restored_makes_no_lookups(book: Book) -> None:
    assert isinstance(book.claim(redelivered=True), Call)


def test_scheduled_command_before_its_time_is_not_lost(book: Book) -> None:
    scheduled = command(send_at=NOW + 60)
    verdict = book.claim(of=scheduled, redelivered=True, restored=LOST)

    assert verdict == NotBefore(at=NOW + 60, own=True, version=0)
    assert isinstance(book.claim(of=scheduled, at=60, restored=LOST), Call)


def test_number_without_lookup_is_sent_when_only_a_repeat_is_suspected(book: Book) -> None:
    national = command(to="1234567")

    assert isinstance(book.claim(of=national, at=1, restored=LOST), Call)


# -- their results ----------------------------------------------------------------------------------


def test_repeat_of_a_sent_submission_ends_as_sent(book: Book) -> None:
    book.claim(at=1, restored=LOST)

    assert found(book) is Outcome.SENT
    assert book.submission().message_id == "m-9"


def test_submission_missing_from_the_history_is_sent_without_a_wait(book: Book) -> None:
    look_up = book.claim(at=1, restored=LOST)

    assert isinstance(look_up, Lookup)
    assert look_up.since < LOST.since
    assert found(book, "") == NOW + 1
    assert isinstance(book.claim(at=1, restored=LOST), Call)


def test_redelivery_waits_until_the_history_has_settled(book: Book) -> None:
    book.claim(at=1, redelivered=True, restored=LOST)
    again = found(book, "")

    assert isinstance(again, float)
    assert NOW + 1 < again <= NOW + 1 + book.rules.reconcile.settle
    assert book.submission().state == IN_DOUBT


@pytest.mark.parametrize("complete", [True, False])
def test_incomplete_history_stops_only_submissions_that_a_worker_had_claimed(
    book: Book, complete: bool
) -> None:
    book.claim(at=1, restored=LOST)

    assert found(book, "", complete=complete) == NOW + 1


def test_unclaimed_submission_is_sent_after_a_restore_even_without_resends(book: Book) -> None:
    book.rules = replace(book.rules, reconcile=ReconcileRules(on_absent="park"))
    book.claim(at=1, restored=LOST)

    assert found(book, "") == NOW + 1


@pytest.mark.parametrize(
    ("text", "redelivered", "end"),
    [
        ("you have won a cruise", False, NOW + 300),
        ("you have won a cruise", True, Outcome.UNKNOWN),
        (LONG.encode("ascii", "replace").decode(), False, Outcome.SENT),
        (LONG.encode("ascii", "replace").decode(), True, Outcome.SENT),
    ],
)
def test_messages_of_other_texts_stop_only_submissions_that_a_worker_had_claimed(
    book: Book, text: str, redelivered: bool, end: object
) -> None:
    of = command(message=LONG)
    book.claim(at=1, of=of, redelivered=redelivered, restored=LOST)

    assert found(book, text, at=300, of=of) == end


def test_submission_waits_without_a_history(book: Book) -> None:
    book.claim(at=1, restored=LOST)
    recorded = book.resolve(at=1, reading=False)

    assert recorded is not None
    assert recorded.outcome is None
    assert book.submission().state == IN_DOUBT
    assert isinstance(book.claim(at=400, version=0, restored=LOST), Lookup)


# -- older rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("redelivered", [True, False])
def test_row_from_before_the_restore_may_be_older_than_the_sent_message(
    book: Book, redelivered: bool
) -> None:
    waiting(book)
    late = Restored(at=NOW + 30, since=NOW - 60)
    verdict = book.claim(at=60, version=1, redelivered=redelivered, restored=late)

    assert isinstance(verdict, Lookup)
    assert (book.submission().doubt_from, book.submission().doubt_until) == (NOW - 60, NOW + 60)
    recorded = book.resolve(at=300)
    assert recorded is not None
    assert recorded.retry_at == NOW + 300
    assert isinstance(book.claim(at=300, version=1, redelivered=True, restored=late), Call)


def test_each_submission_of_such_a_command_is_looked_up(book: Book) -> None:
    for index in range(2):
        book.claim(index)
        book.file(index, outcome=None)
    late = Restored(at=NOW + 30, since=NOW - 60)
    verdicts = [book.claim(index, at=60, redelivered=True, restored=late) for index in range(2)]

    assert [type(verdict) for verdict in verdicts] == [Lookup, Lookup]


def test_scheduled_command_is_looked_up_at_its_time(book: Book) -> None:
    scheduled = command(send_at=NOW + 60)
    book.claim(of=scheduled)
    late = Restored(at=NOW + 30, since=NOW - 60)

    def copy(at: float) -> object:
        book.unit.restored = late
        return book.apply(
            Claim(
                command=scheduled,
                index=0,
                owner="one",
                now=NOW + at,
                style=STYLE,
                rules=book.rules,
                delayed=True,
            )
        )

    early = copy(59)
    assert isinstance(copy(61), Lookup)
    assert found(book, "", at=61, of=scheduled) == NOW + 61
    assert early == NotBefore(at=NOW + 60, own=True, version=0)
    assert isinstance(copy(61), Call)


def test_finished_submission_is_republished_and_its_replay_is_looked_up(book: Book) -> None:
    book.claim()
    recorded = book.file(outcome=Outcome.FAILED)
    assert recorded is not None
    assert recorded.stored_event is not None
    late = Restored(at=NOW + 30, since=NOW - 60)
    replay = Replay(event_id=recorded.stored_event.event_id)

    assert isinstance(book.claim(at=60, replay=replay, restored=late), Lookup)


# -- the beginning of the losses -------------------------------------------------------------------


def test_losses_begin_at_the_last_remaining_commit() -> None:
    assert restored(NOW, last_commit_at=NOW - 10, max_age=DAY) == Restored(at=NOW, since=NOW - 10 - CLOCKS)


def test_losses_begin_at_the_maximum_age_without_a_last_commit() -> None:
    assert restored(NOW, last_commit_at=None, max_age=DAY) == Restored(at=NOW, since=NOW - DAY)


def test_commit_in_the_future_counts_as_one_of_now() -> None:
    assert restored(NOW, last_commit_at=NOW + 500, max_age=DAY).since == NOW - CLOCKS


@given(st.integers(0, 2 * int(DAY)), st.integers(0, int(DAY)))
def test_losses_of_an_earlier_restore_are_still_considered(later: int, before: int) -> None:
    first = restored(NOW, last_commit_at=NOW - before, max_age=DAY)
    second = restored(NOW + later, last_commit_at=NOW + later, max_age=DAY, before=first)

    assert second.since == (first.since if later < DAY else NOW + later - CLOCKS)
