"""A thousand requests behind each proxy, around the time that ends idle connections: none is answered 502."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.reverse_proxies import PROXIES, statuses_around_the_limit

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.long


@pytest.mark.parametrize("name", PROXIES)
def test_thousand_requests_are_all_accepted(tmp_path: Path, name: str) -> None:
    assert statuses_around_the_limit(name, tmp_path, 50) == [204] * 1000
