"""Proof of absence before a resend, with altered texts and messages of other senders."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.likeness import Original
from bridge.domain.match_keys import match_key_of
from bridge.domain.reconciliation import (
    FIRST_LOOKUP,
    LONGEST_LOOKUP,
    Found,
    NotInHistory,
    RetryLookup,
    Undetermined,
)
from bridge.simulator.alterations import alter
from tests.unit.altered_texts import KNOWN, UNKNOWN
from tests.unit.judgement_cases import NOW, RULES, SETTLED, calling, judge, message, other

if TYPE_CHECKING:
    from random import Random

    from bridge.domain.evidence import Evidence, Other

EMOJI = "Well done \U0001f600!"
SHOWN = "Well done ?!"
#: End of the wait for another submission's lookup.
DECIDED = SETTLED + LONGEST_LOOKUP + RULES.settle


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_text_with_a_known_alteration_is_found_at_once(name: str) -> None:
    shown = message(text=alter(KNOWN[name], name))

    assert judge(shown, text=KNOWN[name], now=NOW + FIRST_LOOKUP) == Found(message=shown)


@pytest.mark.parametrize("name", sorted(UNKNOWN))
def test_unrecognizable_text_is_no_proof_of_absence(name: str) -> None:
    shown = message(text=alter(UNKNOWN[name], name))

    assert isinstance(judge(shown, text=UNKNOWN[name], now=NOW + FIRST_LOOKUP), RetryLookup)
    assert isinstance(judge(shown, text=UNKNOWN[name]), Undetermined)


def test_notification_of_another_text_is_no_proof_of_absence_either() -> None:
    # The ledger has no text of it.
    stored_event = message(text="[hidden]")

    assert isinstance(judge(seen=(replace(stored_event, text=None),)), Undetermined)
    assert judge(seen=(replace(stored_event, text=None),), taken=frozenset({"m-1"})) == NotInHistory()


def test_notified_match_stays_a_match_in_any_spelling_of_the_history() -> None:
    stored_event, shown = replace(message(), text=None), message(text="[hidden]")
    lookup_result = judge(shown, seen=(stored_event,))

    assert isinstance(lookup_result, Found)
    assert lookup_result.message.message_id == stored_event.message_id


def test_exact_spelling_is_preferred_among_messages_of_one_normal_form() -> None:
    ours = "Price: 5\u00a0EUR"
    found = judge(message("m-1", at=-5.0, text="Price: 5 EUR"), message("m-2", text=ours), text=ours)

    assert found == Found(message=message("m-2", text=ours))


def test_message_in_the_spelling_of_another_submission_in_doubt_is_left_to_it_at_first() -> None:
    shown, ours, theirs = message(text="Seats 12"), "Seats 1 2", "Seats 12"
    candidate = other(theirs)

    assert isinstance(judge(shown, text=ours, others=(candidate,)), RetryLookup)
    assert judge(shown, text=theirs, others=(other(ours),)) == Found(message=shown)
    assert judge(shown, text=ours, taken=frozenset({"m-1"})) == NotInHistory()
    # A gateway has altered it, unless it belongs to the other one.
    for waiting in (candidate, replace(candidate, looked_at=SETTLED - 1)):
        assert isinstance(judge(shown, text=ours, others=(waiting,), now=DECIDED - 1), RetryLookup)
    assert judge(shown, text=ours, others=(replace(candidate, looked_at=SETTLED),)) == Found(message=shown)
    assert judge(shown, text=ours, others=(candidate,), now=DECIDED) == Found(message=shown)
    assert judge(shown, text=ours, others=(other(theirs, in_doubt=False),)) == Found(message=shown)


def test_message_of_another_submissions_text_is_left_to_it() -> None:
    two = message(text="two")

    assert judge(two, others=(other("two"),)) == NotInHistory()
    assert judge(two, others=(calling("two"),)) == NotInHistory()
    assert judge(two, others=(other("two", in_doubt=False),)) == NotInHistory()


def test_only_one_of_two_messages_belongs_to_the_other_submission() -> None:
    twice = message("m-1", text="two"), message("m-2", text="two")

    assert isinstance(judge(*twice, others=(other("two", in_doubt=False),)), Undetermined)
    assert judge(*twice, others=(other("two"), other("two"))) == NotInHistory()


def test_submission_of_another_time_explains_no_message() -> None:
    long_ago = other("two", since=-5_000.0, until=-5_000.0, in_doubt=False)

    assert isinstance(judge(message(text="two"), others=(long_ago,)), Undetermined)


def test_possible_match_is_not_left_to_another_submission_permanently() -> None:
    cut = "A text of some length that a gateway may well have cut off, 1"
    ours, candidate = f"{cut}2", other(cut)

    looked = replace(candidate, looked_at=SETTLED)

    # The other one takes it at its next lookup, which is proof; otherwise nothing is proved.
    assert isinstance(judge(message(text=cut), text=ours, others=(candidate,)), RetryLookup)
    assert isinstance(judge(message(text=cut), text=ours, others=(looked,)), Undetermined)
    assert judge(message(text=cut), text=ours, taken=frozenset({"m-1"})) == NotInHistory()


@pytest.mark.parametrize(
    ("ours", "shown"), [("\U0001f44d", "?"), ("\u4f60\u597d!", "??!"), ("\u4f60\u597d!", "!")]
)
def test_message_with_too_little_text_is_neither_taken_nor_left_to_another_permanently(
    ours: str, shown: str
) -> None:
    left, theirs = message(text=shown), other(shown)

    for candidate in (replace(theirs, is_in_doubt=False), replace(theirs, looked_at=SETTLED)):
        assert isinstance(judge(left, text=ours, others=(candidate,)), Undetermined)
    assert isinstance(judge(left, text=ours, others=(theirs,)), RetryLookup)
    assert judge(left, text=ours, taken=frozenset({"m-1"})) == NotInHistory()
    assert judge(message(text="\U0001f389"), text=ours, others=(other("\U0001f389"),)) == NotInHistory()


def test_message_known_by_notification_alone_is_left_to_no_other_submission() -> None:
    cut = "A text of some length that a gateway may well have cut off, 1"
    ours, ended = f"{cut}2", other(cut, in_doubt=False)
    shown = message(text=cut)
    stored_event = replace(shown, text=None)

    # Its text is unknown, so it may be this submission's, cut off by a gateway; the history shows that it is.
    assert isinstance(judge(seen=(stored_event,), text=ours, others=(ended,)), Undetermined)
    assert judge(shown, seen=(stored_event,), text=ours, others=(ended,)) == Found(message=shown)
    assert judge(shown, seen=(stored_event,), text="hi", others=(ended,)) == NotInHistory()


def test_unrecognized_message_decides_nothing_while_its_call_may_be_in_flight() -> None:
    strange = message(text="[hidden]")

    assert judge(strange, others=(calling("two", since=60.0),)) == RetryLookup(at=SETTLED + FIRST_LOOKUP)
    assert isinstance(judge(strange, others=(calling("two", since=200.0),)), Undetermined)
    assert isinstance(judge(strange, others=(calling("two"),), give_up_at=SETTLED), Undetermined)


@pytest.mark.parametrize(("shown", "theirs"), [("[hidden]", "two"), ("hi", "hi")])
def test_endless_call_is_checked_with_growing_pauses(shown: str, theirs: str) -> None:
    now, lookups = NOW + FIRST_LOOKUP, 0
    while now < NOW + 86_400:
        lookup_result = judge(message(text=shown), others=(calling(theirs),), now=now)
        assert isinstance(lookup_result, RetryLookup)
        assert FIRST_LOOKUP <= lookup_result.at - now <= LONGEST_LOOKUP
        now, lookups = lookup_result.at, lookups + 1

    assert lookups < 310


def test_likely_match_waits_for_all_candidates_and_then_each_is_taken_once() -> None:
    candidate = other("Well done \U0001f60e!", until=20.0)
    one = judge(message(text=SHOWN), text=EMOJI, others=(candidate,))

    assert isinstance(one, RetryLookup)
    assert one.at <= SETTLED + 20
    assert isinstance(judge(message(text=SHOWN), text=EMOJI, others=(candidate,), now=SETTLED + 20), Found)
    # The other one finds it taken, and no other message.
    assert (
        judge(message(text=SHOWN), text="Well done \U0001f60e!", taken=frozenset({"m-1"})) == NotInHistory()
    )


def test_submissions_with_a_likely_match_each_do_not_wait() -> None:
    both = message("m-1", text=SHOWN), message("m-2", text=SHOWN)

    assert judge(*both, text=EMOJI, others=(other("Well done \U0001f60e!"),), now=NOW + 2) == Found(
        message=both[0]
    )


def test_likely_match_is_left_to_a_submission_that_was_certainly_accepted() -> None:
    sure = other("Well done \U0001f60e!", submitted=True, in_doubt=False)

    assert isinstance(judge(message(text=SHOWN), text=EMOJI, others=(sure,)), Undetermined)
    assert isinstance(judge(message(text=SHOWN), text=EMOJI, others=(sure,), submitted=True), Found)


def test_other_submissions_are_looked_up_before_an_unrecognized_message_leads_to_unknown() -> None:
    strange, candidate = message(text="[hidden]"), other("two")

    for now in (SETTLED, SETTLED + 200, DECIDED - 1):
        assert isinstance(judge(strange, others=(candidate,), now=now), RetryLookup)
    assert isinstance(
        judge(strange, others=(candidate, replace(candidate, looked_at=SETTLED - 1))), RetryLookup
    )
    assert isinstance(judge(strange, others=(replace(candidate, looked_at=SETTLED),)), Undetermined)
    assert isinstance(judge(strange, others=(candidate,), now=DECIDED), Undetermined), "no lookup of it comes"


def test_only_a_similar_message_at_an_impossible_time_blocks_a_result() -> None:
    assert judge(message(at=15e9, text="other")) == NotInHistory()
    assert isinstance(judge(message(at=15e9, text=SHOWN), text=EMOJI), Undetermined)


# --- properties ------------------------------------------------------------------------------------------------------

TEXTS = st.sampled_from(["hi", "h\u00a0i", "hi?", "two", "three", "[hidden]", EMOJI, SHOWN, "\u4f60"])
MESSAGES = st.lists(st.tuples(TEXTS, st.floats(-100, 160)), max_size=5).map(
    lambda drawn: [message(f"m-{number}", text=text, at=at) for number, (text, at) in enumerate(drawn)]
)
OTHERS = st.lists(
    st.one_of(
        st.builds(calling, TEXTS, since=st.floats(-100, 100)),
        st.builds(other, TEXTS, until=st.floats(0, 100), submitted=st.booleans(), in_doubt=st.booleans()),
    ),
    max_size=4,
)


def explained(messages: list[Evidence], others: list[Other]) -> bool:
    """Whether each message can be assigned to another submission of its text, at most one to each."""
    keys = [one.match_key for one in others]
    return any(
        all(match_key_of(shown) == key for shown, key in zip(messages, chosen, strict=True))
        for chosen in permutations(keys, len(messages))
    )


@given(
    text=TEXTS, messages=MESSAGES, others=OTHERS, elapsed=st.floats(0, 400), taken=st.sets(st.integers(0, 4))
)
def test_not_found_requires_that_each_message_belongs_to_another_submission(
    text: str, messages: list[Evidence], others: list[Other], elapsed: float, taken: set[int]
) -> None:
    owned = frozenset(f"m-{number}" for number in taken)
    lookup_result = judge(*messages, text=text, others=tuple(others), now=NOW + elapsed, taken=owned)
    free = [one for one in messages if one.message_id not in owned]

    match lookup_result:
        case NotInHistory():
            assert elapsed >= RULES.settle
            # A message with its text is only left to certainly accepted submissions without a message.
            assert explained(free, others)
        case Found(message=found):
            assert found in free
            assert match_key_of(found) == match_key_of(message(text=text)) or Original(text).may_show_as(
                found.text or ""
            )
        case RetryLookup(at=at):
            assert at >= NOW + elapsed
        case Undetermined():
            assert free


@given(
    text=TEXTS,
    messages=MESSAGES,
    others=OTHERS,
    elapsed=st.floats(0, 400),
    order=st.randoms(use_true_random=False),
)
def test_order_of_messages_and_submissions_changes_nothing(
    text: str, messages: list[Evidence], others: list[Other], elapsed: float, order: Random
) -> None:
    lookup_result = judge(*messages, text=text, others=tuple(others), now=NOW + elapsed)
    order.shuffle(messages)
    order.shuffle(others)

    assert judge(*messages, text=text, others=tuple(others), now=NOW + elapsed) == lookup_result


@given(messages=MESSAGES, others=OTHERS, text=TEXTS)
def test_lookups_end(text: str, messages: list[Evidence], others: list[Other]) -> None:
    ended = [one for one in others if not one.is_calling]
    lookup_result, now = judge(*messages, text=text, others=tuple(ended), now=NOW), NOW
    for _ in range(100):
        if not isinstance(lookup_result, RetryLookup):
            break
        now = max(lookup_result.at, now + 0.1)
        lookup_result = judge(*messages, text=text, others=tuple(ended), now=now)

    assert not isinstance(lookup_result, RetryLookup)
    assert now <= DECIDED + 100
