"""Texts of errors that may be logged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.domain.answers import ProviderError
from bridge.domain.error_words import CODES, describe, explain

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = Path(__file__).parents[2] / "docs" / "internals" / "wire-reference.md"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ProviderError(name="serviceException", exception_id="SVC0002", message="no", http_status=400),
            "SVC0002: invalid input value for a message part",
        ),
        (
            ProviderError(name="policyException", exception_id="POL7777", http_status=403),
            "POL7777: the provider reported a policy error",
        ),
        (ProviderError(name="http", message="+16131234567", http_status=502), "HTTP 502 Bad Gateway"),
        (ProviderError(name="http", http_status=799), "HTTP 799"),
        (ProviderError(name="timeout", message="no answer in time"), "no answer in time"),
        (ProviderError(name="oauth", message="for +16131234567", http_status=200),
         "oauth: the provider refused the credentials"),
        (ProviderError(name="oauth", exception_id="invalid_grant", http_status=400),
         "invalid_grant: wrong user name or password, or an expired grant"),
    ],
)  # fmt: skip
def test_error_is_described(error: ProviderError, words: str) -> None:
    assert describe(error) == words


@pytest.mark.parametrize(
    "error",
    [
        ProviderError(name="serviceException", exception_id="canary 6131234567", message="canary", http_status=400),
        ProviderError(name="ambiguous", exception_id="canary", message="canary", http_status=400),
        ProviderError(name="ambiguous", message="the last one ended as rejected: canary", http_status=400),
        ProviderError(name="canary", message="canary"),
    ],
)  # fmt: skip
def test_description_contains_no_text_of_the_provider(error: ProviderError) -> None:
    assert "canary" not in describe(error)
    assert describe(error)


def documented() -> Iterator[str]:
    rows = DOCUMENT.read_text().partition("### 8.2 Codes")[2].partition("### 8.3")[0].splitlines()
    for row in rows:
        if row.startswith(("| SVC", "| POL")) and ".." not in row:
            first, *rest = re.findall(r"[0-9]{4}", row.split("|")[1])
            yield from (f"{row[2:5]}{digits}" for digits in (first, *rest))


def test_every_code_of_the_wire_reference_has_a_description() -> None:
    codes = list(documented())

    assert len(codes) >= 20
    assert [code for code in codes if code not in CODES] == []


def test_value_that_is_not_a_code_is_not_explained() -> None:
    assert explain("message is missing") is None
