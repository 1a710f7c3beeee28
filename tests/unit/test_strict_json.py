"""JSON from outside: plain JSON is accepted, anything else raises one error with a reason."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.strict_json import MAX_NUMBER_LENGTH, NotStrictJSON, loads

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "is not JSON: line 1 column 1"),
        (b"{} {}", "is not JSON: line 1 column 4"),
        (b'{\n "a": tru}', "is not JSON: line 2 column 7"),
        (b'{"a" 1}', "is not JSON: line 1 column 6"),
        (b'["\x01"]', "is not JSON: line 1 column 3"),
        (b"\xff{}", "is not UTF-8"),
        (b'"\xed\xa0\x80"', "is not UTF-8"),
        ("{}".encode("utf-16-le"), "is not JSON: line 1 column 2"),
        (b"\xef\xbb\xbf{}", "begins with a byte order mark"),
        (b'{"id": 1, "x": 2, "id": 3}', "has the key twice: id"),
        (b'{"x": {"id": 1, "\\u0069d": 1}}', "has the key twice: id"),
        (b'{"": 1, "": 1}', "has a key twice"),
        (b'{"a\\nb": 1, "a\\nb": 1}', "has a key twice"),
        (b'{"+16131234567": 1, "+16131234567": 1}', "has a key twice"),
        (b'{"n16131234567": 1, "n16131234567": 1}', "has a key twice"),
        (b"[NaN]", "NaN is not JSON"),
        (b"-Infinity", "-Infinity is not JSON"),
        (b"1e400", "has a number that is too big"),
        (b"[" + b"1" * 5000 + b"]", "has a number that is too long"),
        (b"0." + b"1" * 200, "has a number that is too long"),
        (b"[" * 5 + b"]" * 5, "is nested deeper than 4"),
        (b'{"a": [{"a": [{}]}]}', "is nested deeper than 4"),
        (b"[" * 100_000 + b"]" * 100_000, "is nested deeper than 4"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "is nested deeper than 4"),
    ],
)
def test_text_that_is_not_plain_json_is_refused_with_a_reason(body: bytes, reason: str) -> None:
    with pytest.raises(NotStrictJSON) as caught:
        loads(body, max_depth=4)

    assert str(caught.value) == reason


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b" [1, 2.5, -3e2] \n",
        b"[" * 4 + b"]" * 4,
        b"[[], [], [], [], [], {}, {}]",
        b'"[[[[[[[[[["',
        b'{"a": "{{{{{{", "b": "]"}',
        b"1" * MAX_NUMBER_LENGTH,
    ],
)
def test_json_within_the_bounds_is_read_as_by_the_json_module(body: bytes) -> None:
    assert loads(body, max_depth=4) == json.loads(body)


def test_lone_surrogate_is_kept() -> None:
    assert loads(b'"a\\ud800"', max_depth=1) == "a\ud800"


@given(_VALUES)
def test_any_value_survives_a_json_round_trip(value: Any) -> None:
    assert loads(json.dumps(value).encode(), max_depth=64) == value


@given(st.binary() | st.text(alphabet='[]{}":,0123456789eE.-+\\uNnul tfaI').map(str.encode))
def test_no_body_raises_another_error(body: bytes) -> None:
    with contextlib.suppress(NotStrictJSON):
        loads(body, max_depth=8)
