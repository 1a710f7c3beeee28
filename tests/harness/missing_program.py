"""What a test does where the machine lacks a program that it starts."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing_program(program: str, installer: str = "scripts/install-test-tools") -> NoReturn:
    """Skip the test because `program` is not installed; fail it in continuous integration, where `CI` is set."""
    reason = f"no {program} here; {installer} installs it"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
