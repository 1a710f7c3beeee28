"""Comparison of texts: those altered by a gateway match, others do not."""

from __future__ import annotations

import html
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.likeness import SHORTEST_CUT, Original
from bridge.domain.match_keys import LONGEST_TEXT, normal_form, plain, text_key
from bridge.simulator.alterations import ALTERATIONS, alter
from tests.unit.altered_texts import KNOWN, UNKNOWN

#: These remove characters that the normal form cannot restore.
LOSSY = {"cut", "emoji", "no-emoji", "two-marks", "ascii", "gsm", "latin-1"}
#: All characters but these: possible entities in one spelling only; a capital with a cedilla, which also stands for
# the small one; and accents without a letter, which some gateways drop and some turn into a quote.
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="&\ufe60\uff06\xc7\u0327\xb4\u1ffd\u2033\u2036"),
    max_size=200,
)


def is_alike(ours: str, shown: str) -> bool:
    return text_key(ours) == text_key(shown)


def test_each_alteration_of_the_simulator_has_a_text() -> None:
    assert ALTERATIONS.keys() == KNOWN.keys() | UNKNOWN.keys()
    assert all(alter(text, name) != text for name, text in (KNOWN | UNKNOWN).items())


@pytest.mark.parametrize("name", sorted(KNOWN.keys() - LOSSY))
def test_text_that_a_gateway_respells_has_the_same_key(name: str) -> None:
    assert is_alike(KNOWN[name], alter(KNOWN[name], name))


@pytest.mark.parametrize("name", sorted(LOSSY))
def test_text_that_lost_characters_or_its_end_is_likely_a_match(name: str) -> None:
    shown = alter(KNOWN[name], name)

    assert not is_alike(KNOWN[name], shown)
    assert Original(KNOWN[name]).may_show_as(shown)


@pytest.mark.parametrize("name", sorted(UNKNOWN))
def test_text_without_remaining_characters_is_not_a_match(name: str) -> None:
    shown = alter(UNKNOWN[name], name)

    assert not is_alike(UNKNOWN[name], shown)
    assert not Original(UNKNOWN[name]).may_show_as(shown)


@pytest.mark.parametrize(
    ("ours", "shown"),
    [
        ("Order 12 is ready", "Order 1"),
        ("Order 1", "Order 12"),
        ("Code 1234", "Code 1235"),
        ("\u4f60\u597d\u4e16\u754c", "????"),
        ("\U0001f44d", "?"),
        ("Ja?", "Ja"),
        ("\u0412\u0430\u0448 \u043a\u043e\u0434 12", "???? ??? 12"),
        ("\u0412\u0430\u0448 \u043a\u043e\u0434 12", "??? ??? 13"),
        ("5 EUR", "5 USD"),
        ("yes", ""),
    ],
)
def test_text_that_matches_many_others_is_not_a_match(ours: str, shown: str) -> None:
    assert not is_alike(ours, shown)
    assert not Original(ours).may_show_as(shown)


def test_cut_text_matches_from_a_meaningful_length() -> None:
    text = "x" * (SHORTEST_CUT * 2)
    original = Original(text)

    assert original.may_show_as(text[:SHORTEST_CUT])
    assert original.may_show_as(f"{text[:SHORTEST_CUT]}...")
    assert original.may_show_as(f"{text[:SHORTEST_CUT]}&am")
    assert not original.may_show_as(text[: SHORTEST_CUT - 1])


def test_combined_alterations_are_undone() -> None:
    ours = "\ufeff\u201cPrice\u201d:\u00a05\u2009\u20ac \u2014 Tom & Zo\u00eb\u2026 \U0001f600"
    shown = "&quot;Price&quot;: 5 ? - Tom &amp; Zoe... ??"

    assert Original(ours).may_show_as(shown)


@pytest.mark.parametrize(
    "text", ["&amp;amp; tea", "&amp;lt;b&amp;gt;", "&#38;#38;#38; tea", "a &amp b", "plain & simple"]
)
def test_text_that_was_escaped_any_number_of_times_has_one_key(text: str) -> None:
    shown = text
    for _ in range(10):
        shown = html.escape(shown)
        assert is_alike(text, shown)


@pytest.mark.parametrize(
    "text",
    [
        "&" + "amp;" * 999,
        "&amp;" * 800,
        "&" + "#38;" * 999,
        "&" + "amp;" * 500 + ("&" + "x" * 31) * 60,
        "&" * 600 + "#38;" * 600 + "&abcdefgh" * 100,
        "&" * 300 + "#97;mp;" * 300 + "&ab " * 480,
        "&" + "#38" * 600 + "&ab " * 480,
    ],
)
def test_longest_texts_are_unescaped_quickly(text: str) -> None:
    began = time.process_time()

    assert len(normal_form(text[:LONGEST_TEXT])) <= LONGEST_TEXT
    assert time.process_time() - began < 0.3


def test_text_longer_than_any_sms_is_compared_unchanged_and_quickly() -> None:
    long = "a" + "\u0315\u0300" * LONGEST_TEXT
    began = time.process_time()

    assert normal_form(long) == long
    assert not Original("hi").may_show_as(long)
    assert not Original(long).may_show_as("hi")
    assert not Original("hi").may_show_as("." * (LONGEST_TEXT - 1) + "x")
    assert time.process_time() - began < 0.3


@given(TEXTS, st.sampled_from(sorted(KNOWN.keys() - LOSSY)))
def test_any_text_keeps_its_key_when_a_gateway_respells_it(text: str, name: str) -> None:
    assert is_alike(text, alter(text, name))


@given(TEXTS)
def test_normal_form_is_idempotent(text: str) -> None:
    assert normal_form(normal_form(text)) == normal_form(text)


@given(
    st.text(st.characters(codec="utf-8"), min_size=4, max_size=100),
    st.sampled_from(["ascii", "gsm", "emoji", "two-marks"]),
)
def test_text_with_enough_characters_matches_without_those_missing_from_an_alphabet(
    text: str, name: str
) -> None:
    ours = f"Order 4711 of Smith: {text[:10]}"
    shown = alter(ours, name)

    assert is_alike(ours, shown) or Original(ours).may_show_as(shown)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r")))
def test_contents_are_compared_without_regard_to_line_ends_and_outer_blanks(text: str) -> None:
    key = plain(text)

    assert key == plain(f" \r\n{text}\t ")
    assert plain(text.replace("\n", "\r\n")) == key == plain(text.replace("\n", "\r"))
