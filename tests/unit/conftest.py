"""Fixtures of the unit tests."""

from __future__ import annotations

import pytest

from bridge.ops.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    """Return new metrics."""
    return Metrics(version="0.0.0")
