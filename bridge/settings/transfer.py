"""Settings on their way to another process of ours, secrets included: through a pipe, never through a file."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Secret, SecretStr

from bridge.settings.model import Settings


def pack(settings: Settings) -> str:
    """Return one line that `unpack` makes the same settings of. It holds the secrets as they are."""
    return json.dumps(settings.model_dump(), default=_plain)


def unpack(line: str) -> Settings:
    """Return the settings that were packed.

    Raises:
        ValueError: it is not from `pack`, or from that of another version.

    """
    return Settings.model_validate_json(line)


def _plain(value: object) -> str:
    if isinstance(value, Secret | SecretStr):
        return str(value.get_secret_value())
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"no setting is a {type(value).__name__}")
