"""What the tests of the broker's two ends share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.chaos_proxy import ChaosProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.broker import Broker


@pytest.fixture
def proxy(rabbitmq: Broker) -> Iterator[ChaosProxy]:
    """Put a proxy that breaks the network before the broker."""
    with ChaosProxy(("127.0.0.1", rabbitmq.port)) as proxy:
        yield proxy
