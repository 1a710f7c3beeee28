"""The names of a bridge's exchanges and queues (SPEC section 3)."""

from __future__ import annotations

from dataclasses import dataclass

#: The names that stand for themselves where they are empty: the prefix, a dot, and the word.
WORDS = {
    "commands_exchange": "commands",
    "command_queue": "send",
    "events_exchange": "events",
    "unrouted_queue": "unrouted",
    "dead_queue": "dead",
    "given_up_queue": "given_up",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names on the broker; one that is empty is made of the prefix."""

    prefix: str = "sms"
    commands_exchange: str = ""
    command_queue: str = ""
    events_exchange: str = ""
    unrouted_queue: str = ""
    dead_queue: str = ""
    #: Where the broker leaves commands that it gives up itself: workers publish their outcomes.
    given_up_queue: str = ""

    def __post_init__(self) -> None:
        """Make the names that are empty."""
        for name, word in WORDS.items():
            if not getattr(self, name):
                object.__setattr__(self, name, f"{self.prefix}.{word}")

    @property
    def own_queues(self) -> frozenset[str]:
        """The queues that are no place for a reply."""
        return frozenset({self.command_queue, self.unrouted_queue, self.dead_queue, self.given_up_queue})

    @property
    def source(self) -> str:
        """The bridge's name in its events: CloudEvents `source`."""
        return f"/sms-bridge/{self.prefix}"
