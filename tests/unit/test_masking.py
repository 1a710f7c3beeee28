"""Masking of numbers and foreign text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.masks import (
    DEFAULT_LIMIT,
    mask_number,
    mask_numbers,
    printable,
    shorten,
    show_id,
)


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+16131238877", "***8877"),
        ("6131238877", "***8877"),
        ("tel:+1-613-123-8877", "***8877"),
        ("sip:6131238877@domain", "***8877"),
        ("1238877", "***8877"),
        ("123887", "***"),
        ("911", "***"),
        ("default", "***"),
        ("", "***"),
    ],
)
def test_number_shows_its_last_four_digits_at_most(number: str, masked: str) -> None:
    assert mask_number(number) == masked


HOSTS = frozenset(("ip-10-213-7-12", "rabbit-20261130.example", "6131238877"))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("broker ip-10-213-7-12:5672 vhost sms", "broker ip-10-213-7-12:5672 vhost sms"),
        ("IP-10-213-7-12 of +16131238877", "IP-10-213-7-12 of ***8877"),
        ("rabbit@ip-10-213-7-12, x.", "rabbit@ip-10-213-7-12, x."),
        ("at rabbit-20261130.example.", "at rabbit-20261130.example."),
        # Another host, and a number that is only a part of a word.
        ("ip-10-213-7-121", "ip-***7121"),
        ("rabbit-20261131.example", "rabbit-***1131.example"),
        ("+16131238877", "***8877"),
    ],
)
def test_hosts_that_are_configured_are_shown_whole(text: str, masked: str) -> None:
    assert mask_numbers(text, hosts=HOSTS) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("no number at all", "no number at all"),
        ("Invalid input value +16131238877 for address", "Invalid input value ***8877 for address"),
        ("from 6131238877, to +44 20 7946 0958.", "from ***8877, to ***0958."),
        ("call (613) 123-8877 or 613.123.8877", "call (***8877 or ***8877"),
        ("tel:+1-613-123-8877;ext=5", "tel:***8877;ext=5"),
        ("/remoteAddresses/%2B16131238877/messages/x1", "/remoteAddresses/%2B***8877/messages/x1"),
        ("/a?to=%2B1%20613%20123%208877", "/a?to=%2B***8877"),
        ("613\u2013123\u00a08877", "***8877"),
        ("٦١٣١٢٣٨٨٧٧", "***٨٨٧٧"),
        ("613\u200b123\u200b8877", "***8877"),
        ("6\n\n\n\n1\n\n\n\n3\n\n\n\n1\n\n\n\n2\n\n\n\n3\n\n\n\n8877", "***8877"),
        ("HTTP 503 on port 8080, SVC0002", "HTTP 503 on port 8080, SVC0002"),
        ("one\r\ntwo\x1b[31m\x00three\u202e", "one two [31m three"),
        ("a\ud800b", "a b"),
    ],
)
def test_text_for_a_log_is_one_line_without_numbers(text: str, masked: str) -> None:
    assert mask_numbers(text) == masked


def test_long_text_is_cut_with_an_ellipsis() -> None:
    masked = mask_numbers("word " * 10_000, limit=20)

    assert masked == "word word word word…"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("20261130001234", "20261130001234"),
        ("order-4711000123", "order-4711000123"),
        ("14185550173-20261130", "***0173-20261130"),
        ("order-4185550173", "order-***0173"),
        ("a (418) 555-0173", "a (***0173"),
        ("5550173", "***0173"),
        ("sms_1_418_555_0173", "sms_***0173"),
        ("1:418:555:0173", "***0173"),
        ("+15145550184", "***0184"),
        ("no digits", "no digits"),
    ],
)
def test_id_hides_the_numbers_of_its_command_and_nothing_else(given: str, shown: str) -> None:
    assert show_id(given, lambda: ["+14185550173", "default", "911"]) == shown


@given(st.text(), st.integers(10**9, 10**15 - 1), st.text())
def test_id_never_holds_the_whole_number_of_its_command(before: str, number: int, after: str) -> None:
    assert str(number) not in show_id(f"{before}{number}{after}", lambda: [f"+{number}"])


@given(st.text(), st.integers(10**9, 10**15 - 1), st.text())
def test_no_whole_number_remains_in_any_surrounding_text(before: str, number: int, after: str) -> None:
    assert str(number) not in mask_numbers(f"{before}{number}{after}")


@given(st.text(st.characters()))
def test_masked_text_is_printable_and_bounded(text: str) -> None:
    masked = mask_numbers(text * 50)

    assert masked.isprintable()
    assert len(masked) <= DEFAULT_LIMIT
    assert not re.search(r"\d{7}", masked)


def test_shorten_keeps_text_that_fits() -> None:
    assert [shorten("abcd", 4), shorten("abcde", 4)] == ["abcd", "abc…"]


def test_printable_keeps_every_script() -> None:
    assert printable("Grüße 你好 👋\t!") == "Grüße 你好 👋 !"
