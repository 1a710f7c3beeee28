"""Every call of the provider's API, in order: for measurements of how a client calls it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.simulator.faults import Target
    from bridge.simulator.http import SimulatorRequest

#: How many calls are kept, the oldest going first.
KEPT = 20_000


@dataclass(slots=True, kw_only=True)
class RecordedCall:
    """One call, and how it was answered."""

    kind: Target
    #: Milliseconds since the epoch.
    at: int
    #: Calls of this kind under way, this one included.
    in_flight: int
    #: The text of a send, where it can be read.
    message: str | None = field(repr=False)
    #: The fault that was applied to it.
    fault: str | None
    #: The status that was answered, or that a fault kept from being so.
    status: int


def text_of(target: Target, request: SimulatorRequest) -> str | None:
    """Return the text of a send, whether the simulator would take it or not; None where it can't be read."""
    if target != "send":
        return None
    try:
        text = json.loads(request.body)["outboundSMSMessageRequest"]["outboundSMSTextMessage"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return text if isinstance(text, str) else None
