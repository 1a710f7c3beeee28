"""A test without its program is skipped on a developer's machine and fails in continuous integration."""

from __future__ import annotations

import pytest

from tests.harness.missing_program import missing_program


def test_missing_program_is_a_failure_in_continuous_integration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no ruby here"):
        missing_program("ruby")
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="no ruby here"):
        missing_program("ruby")
