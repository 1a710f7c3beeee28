"""Commands as the parser reads them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bridge.domain.command_parser import parse_command
from bridge.domain.commands import CommandRules, SendSms

if TYPE_CHECKING:
    from collections.abc import Mapping

#: When they are read.
NOW = 1_800_000_000.0


def read_command(fields: Mapping[str, object], /, **changes: Any) -> SendSms:
    """Return a command to two destinations with these `fields`; `changes` are made to what was read."""
    document = {
        "id": "order-17",
        "destination_address": ["+16131234567", "+16131234568"],
        "message": "hi",
        **fields,
    }
    read = parse_command(json.dumps(document).encode(), None, rules=CommandRules(), now=NOW)
    assert isinstance(read, SendSms)
    return replace(read, **changes)
