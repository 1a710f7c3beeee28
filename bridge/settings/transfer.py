"""Serialized settings for a child process, secrets included: passed through a pipe, never through a file."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Secret, SecretStr

from bridge.settings.model import Settings


def pack(settings: Settings) -> str:
    """Return the settings in one line for `unpack`. It contains the secrets in plain text."""
    return json.dumps(settings.model_dump(), default=_plain)


def unpack(line: str) -> Settings:
    """Return the settings that were packed.

    Raises:
        ValueError: the line is not from `pack` of this version.

    """
    return Settings.model_validate_json(line)


def _plain(value: object) -> str:
    if isinstance(value, Secret | SecretStr):
        return str(value.get_secret_value())
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a setting cannot be a {type(value).__name__}")
