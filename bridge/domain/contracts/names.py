"""What a bridge's exchanges and queues are called (SPEC section 3)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names, and what a bridge says it is in its events."""

    commands_exchange: str
    command_queue: str
    events_exchange: str
    unrouted_queue: str
    dead_queue: str
    #: CloudEvents `source`.
    source: str
