"""Behind a proxy that keeps idle connections for longer than we do, no request is answered 502."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.reverse_proxies import PROXIES, statuses_around_the_limit

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize("name", PROXIES)
def test_no_request_around_the_time_that_ends_idle_connections_is_answered_502(
    tmp_path: Path, name: str
) -> None:
    assert statuses_around_the_limit(name, tmp_path, 5) == [204] * 100
