"""Reconciliation: the result for each case that a history, a notification or the ledger can show."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.evidence import HistoryExtract, Other
from bridge.domain.match_keys import match_key, text_key
from bridge.domain.reconciliation import (
    FIRST_LOOKUP,
    LONGEST_LOOKUP,
    Found,
    NotInHistory,
    RetryLookup,
    Undetermined,
    needs_account_history,
    window_of,
)
from tests.unit.judgement_cases import CAP, NOW, RULES, SETTLED, TO, calling, judge, message, other

# --- found -----------------------------------------------------------------------------------------------------------


def test_matching_message_is_found_at_once() -> None:
    assert judge(message(), now=NOW + FIRST_LOOKUP) == Found(message=message())


def test_first_of_several_matching_messages_is_taken() -> None:
    assert judge(message("m-2", at=5.0), message("m-1", at=4.0)) == Found(message=message("m-1", at=4.0))


def test_notified_message_counts_like_one_in_the_history() -> None:
    assert judge(seen=(message(),), now=NOW + 1) == Found(message=message())
    assert judge(seen=(message(),), now=NOW + 1, history=False) == Found(message=message())


def test_message_notified_twice_counts_once() -> None:
    assert judge(message(), seen=(message(),), others=(other(),), now=NOW + 1) == RetryLookup(at=NOW + 3)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("caf\u00e9", "cafe\u0301"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("  hi\t\n", "hi"),
        ("hi", "\u00a0hi\u3000"),
        ("\U0001f4ac", "\U0001f4ac"),
    ],
)
def test_texts_match_in_any_normal_form_with_any_line_ends_and_outer_spaces(ours: str, theirs: str) -> None:
    assert isinstance(judge(message(text=theirs), text=ours), Found)


@pytest.mark.parametrize("theirs", ["Hi", "ho", "hi!", "", "\ufb01"])
def test_message_of_another_text_without_a_submission_proves_nothing(theirs: str) -> None:
    assert isinstance(judge(message(text=theirs)), Undetermined)
    assert judge(message(text=theirs), taken=frozenset({"m-1"})) == NotInHistory()


@pytest.mark.parametrize("at", [-123.0, -119.0, 0.0, 60.0, 183.0])
def test_clock_of_the_provider_may_differ_within_the_skew(at: float) -> None:
    assert isinstance(judge(message(at=at)), Found)


@pytest.mark.parametrize("at", [-123.5, -3600.0])
def test_message_outside_the_window_is_not_a_match(at: float) -> None:
    assert judge(message(at=at)) == NotInHistory()


def test_matching_message_at_an_impossible_time_leaves_the_result_undetermined() -> None:
    assert isinstance(judge(message(at=183.5)), Undetermined)
    assert isinstance(judge(message(at=15e9)), Undetermined)
    assert judge(message(at=15e9, text="other")) == NotInHistory()


@pytest.mark.parametrize("skew", [0.0, 1.0, 5.0])
def test_times_without_fractions_match_with_any_small_skew(skew: float) -> None:
    rules = replace(RULES, skew=skew)
    since = NOW + 0.9

    assert isinstance(judge(message(at=-skew), since=since, until=since, rules=rules), Found)


def test_message_accepted_long_after_the_attempt_ended_is_found() -> None:
    assert isinstance(judge(message(at=50.0), now=NOW + 55), Found)


def test_message_of_an_earlier_attempt_in_doubt_is_found_after_a_later_attempt() -> None:
    assert isinstance(judge(message(at=-1000.0), since=NOW - 1000, now=NOW + 2), Found)


def test_message_between_other_numbers_is_not_a_match() -> None:
    assert judge(message(destination_address="+16131234568")) == NotInHistory()
    assert judge(message(sender_address="+16139998878")) == NotInHistory()


@pytest.mark.parametrize("sender", ["+16139998877", "+16139998878", None])
def test_default_sender_matches_any_number_of_the_account(sender: str | None) -> None:
    assert isinstance(judge(message(sender_address=sender), sender_address=None), Found)


def test_message_without_a_sender_may_match() -> None:
    assert isinstance(judge(message(sender_address=None)), Found)


def test_message_of_another_submission_is_not_a_match() -> None:
    assert judge(message("m-1"), taken=frozenset({"m-1"})) == NotInHistory()
    found = judge(message("m-1"), message("m-2", at=1.0), taken=frozenset({"m-1"}))
    assert found == Found(message=message("m-2", at=1.0))


def test_message_with_the_id_of_a_response_is_taken_in_any_history() -> None:
    found = judge(
        message("m-1"),
        message("m-2", at=-500.0, text="as the provider changed it"),
        message_id="m-2",
        others=(calling(), other()),
    )

    assert isinstance(found, Found)
    assert found.message.message_id == "m-2"


# --- not found -------------------------------------------------------------------------------------------------------


def test_message_missing_from_a_complete_history_was_not_sent() -> None:
    assert judge() == NotInHistory()


@pytest.mark.parametrize("elapsed", [2.0, 10.0, 40.0, 59.9])
def test_message_does_not_count_as_not_found_within_the_settle_window(elapsed: float) -> None:
    lookup_result = judge(now=NOW + elapsed)

    assert isinstance(lookup_result, RetryLookup)
    assert NOW + elapsed < lookup_result.at <= SETTLED


def test_settle_window_begins_at_the_end_of_the_last_attempt() -> None:
    assert isinstance(judge(until=NOW + 30), RetryLookup)
    assert judge(until=NOW + 30, now=SETTLED + 30) == NotInHistory()


def test_history_read_within_the_settle_window_is_read_again_even_when_judged_later() -> None:
    assert judge(read_at=SETTLED - 1) == RetryLookup(at=SETTLED)


@pytest.mark.parametrize("elapsed", [2.0, 59.0, 61.0, 1e6])
def test_nothing_is_decided_during_an_attempt_of_an_identical_submission(elapsed: float) -> None:
    now = NOW + elapsed

    just = calling(since=elapsed - 1)

    assert judge(message(), now=now, others=(just,)) == RetryLookup(at=now + FIRST_LOOKUP)
    assert judge(now=now, others=(just,)) == RetryLookup(at=now + FIRST_LOOKUP)


def test_incomplete_history_is_undetermined() -> None:
    assert isinstance(judge(complete=False), Undetermined)
    assert isinstance(judge(complete=False, oldest_at=NOW - 1e6), Undetermined)


def test_account_at_its_cap_is_undetermined_without_a_message_before_the_attempt() -> None:
    assert judge(total=CAP // 2 - 1) == NotInHistory()
    assert isinstance(judge(total=CAP), Undetermined), "a short thread may be the rest of a longer one"
    assert isinstance(judge(total=CAP // 2), Undetermined), (
        "a recent message drops older ones before it shows"
    )
    assert isinstance(judge(total=CAP, oldest_at=NOW - 123), Undetermined)
    assert judge(total=CAP, oldest_at=NOW - 124) == NotInHistory()
    assert isinstance(judge(total=CAP, oldest_at=NOW - 124, complete=False), Undetermined)


def test_account_with_an_unknown_message_count_is_undetermined() -> None:
    assert isinstance(judge(total=None), Undetermined)
    assert judge(total=None, oldest_at=NOW - 124) == NotInHistory()


def test_message_before_the_attempt_in_a_thread_counts_for_any_total() -> None:
    full = [message(f"m-{number}", text="other") for number in range(CAP // 2)]

    taken = frozenset(one.message_id for one in full)

    assert judge(*full[1:], taken=taken) == NotInHistory()
    assert isinstance(judge(*full, taken=taken), Undetermined)


def test_complete_thread_is_sufficient_when_the_provider_has_no_cap() -> None:
    keeps_all = replace(RULES, history_cap=0)

    assert judge(total=None, rules=keeps_all) == NotInHistory()
    assert judge(total=CAP, rules=keeps_all) == NotInHistory()
    assert isinstance(judge(complete=False, rules=keeps_all), Undetermined)


def test_account_is_read_only_if_a_complete_settled_history_does_not_reach_back() -> None:
    window = window_of(NOW, NOW, RULES)
    late = HistoryExtract(read_at=SETTLED, oldest_at=NOW - 123)

    assert needs_account_history(late, window)
    assert not needs_account_history(replace(late, read_at=SETTLED - 1), window)
    assert not needs_account_history(replace(late, complete=False), window)
    assert not needs_account_history(replace(late, oldest_at=NOW - 124), window)


def test_incomplete_history_is_read_until_the_message_could_have_shown() -> None:
    assert isinstance(judge(complete=False, now=NOW + 10), RetryLookup)
    assert isinstance(judge(message(), complete=False), Found)


def test_unavailable_history_is_read_with_growing_pauses_until_the_deadline() -> None:
    now, lookups = NOW + FIRST_LOOKUP, 0
    while isinstance(lookup_result := judge(history=False, now=now), RetryLookup):
        assert FIRST_LOOKUP <= lookup_result.at - now <= LONGEST_LOOKUP
        now, lookups = lookup_result.at, lookups + 1

    assert isinstance(lookup_result, Undetermined)
    assert now == NOW + 86_400
    assert lookups < 310


# --- equal texts to one number at once -------------------------------------------------------------------------------


def test_identical_submissions_share_one_message_only_after_both_settle_windows() -> None:
    late = other(until=50.0)

    for elapsed in (2, 52, 60, 109):
        lookup_result = judge(message(), now=NOW + elapsed, others=(late,))

        assert isinstance(lookup_result, RetryLookup)
        assert lookup_result.at <= NOW + 110
    assert isinstance(judge(message(), now=NOW + 110, others=(late,)), Found)


def test_identical_submissions_with_a_message_each_are_resolved_at_once() -> None:
    assert judge(message("m-1"), message("m-2"), now=NOW + 2, others=(other(),)) == Found(
        message=message("m-1")
    )


def test_message_of_a_certainly_accepted_identical_submission_is_left_to_it() -> None:
    sure = other(submitted=True)

    assert judge(message(), others=(sure,)) == NotInHistory()
    assert judge(message(), others=(sure,), submitted=True) == Found(message=message())
    two = judge(message("m-1", at=-1.0), message("m-2"), others=(sure,))
    assert two == Found(message=message("m-1", at=-1.0))


def test_identical_submission_of_another_time_has_another_message() -> None:
    earlier = other(since=-1000.0, until=-1000.0, submitted=True)

    assert judge(message(), others=(earlier,)) == Found(message=message())


def test_late_message_is_left_to_the_identical_submission_with_the_closer_attempt() -> None:
    late, now = message(at=1_000.0), NOW + 2_000
    ended = other(since=1_000.0, until=1_000.0, in_doubt=False)

    for twin in (ended, replace(ended, is_in_doubt=True), replace(ended, submitted=True)):
        assert judge(late, others=(twin,), now=now) == NotInHistory()
    # One each; if no identical submission can have sent it, the clock may have been set since the attempt.
    two = judge(late, message("m-2", at=1_001.0), others=(ended,), now=now)
    assert two == Found(message=message("m-2", at=1_001.0))
    assert judge(late, others=(replace(ended, since=NOW, until=NOW),), now=now) == Found(message=late)
    assert judge(
        message(at=100.0), others=(replace(ended, since=NOW + 100, until=NOW + 100),), now=now
    ) == Found(message=message(at=100.0))


def test_identical_submission_in_doubt_does_not_delay_a_not_found_result() -> None:
    assert judge(others=(other(until=50.0),)) == NotInHistory()


def test_notified_message_is_shared_after_all_settle_windows_while_the_history_is_unavailable() -> None:
    waiting = judge(seen=(message(),), history=False, others=(other(),), now=NOW + 2)

    assert isinstance(waiting, RetryLookup)
    assert isinstance(judge(seen=(message(),), history=False, others=(other(),)), Found)


# --- properties ------------------------------------------------------------------------------------------------------


@given(
    times=st.lists(st.floats(-500, 500), max_size=5),
    elapsed=st.floats(0, 1000),
    others=st.lists(st.builds(other, until=st.floats(0, 300), submitted=st.booleans()), max_size=3),
    complete=st.booleans(),
    taken=st.sets(st.integers(0, 4)),
)
def test_only_an_unclaimed_match_is_found_and_only_a_complete_settled_history_is_not_found(
    times: list[float], elapsed: float, others: list[Other], complete: bool, taken: set[int]
) -> None:
    now = NOW + elapsed
    messages = [message(f"m-{number}", at=at) for number, at in enumerate(times)]
    lookup_result = judge(
        *messages,
        now=now,
        complete=complete,
        others=tuple(others),
        taken=frozenset(f"m-{number}" for number in taken),
    )
    free = [one for number, one in enumerate(messages) if number not in taken and times[number] >= -123]

    match lookup_result:
        case Found(message=found):
            assert found in free
        case NotInHistory():
            assert complete
            assert elapsed >= 60
            assert len(free) <= len(others)
        case RetryLookup(at=at):
            assert at >= now
        case Undetermined():
            assert not complete or any(one.sent_at > now + 123 for one in messages)


def test_two_submissions_share_a_key_only_if_number_and_text_agree() -> None:
    keys = {match_key(TO, "hi"), match_key(TO, "hi "), match_key(TO, "ho"), match_key(f"{TO}1", "hi")}

    assert len(keys) == 3
    assert replace(message(), text_key=text_key("hi ")) == message()
