"""The search for leaked values."""

from __future__ import annotations

import base64

import pytest

from tests.harness.sensitive_values import NUMBERS, SECRETS, TEXT, leaks


@pytest.mark.parametrize(
    "line",
    [
        f'{{"event": "x", "to": "{NUMBERS[0]}"}}',
        f"tel:{NUMBERS[1][1:]}",
        "remoteAddresses/%2B14185550173/messages",
        "to (418) 555-0173 it went",
        f"said {TEXT.upper()}",
        f"Authorization: Basic {base64.b64encode(b'project:' + SECRETS['client'].encode()).decode()}",
        f"secret={base64.b64encode(SECRETS['token'].encode()).decode()}",
        "Bearer eyJhbGciOiJIUzI1NiJ9.e30.abc",
    ],
)
def test_leaked_values_are_found(line: str) -> None:
    assert leaks(f"all is well\n{line}\nall is well") == [line]


def test_masked_values_are_not_leaks() -> None:
    assert leaks("to ***0173, [redacted], id 0f5c1d9e-1418-5550-9173-000000000000") == []
