"""The names of a bridge's exchanges and queues (SPEC section 3)."""

from __future__ import annotations

from dataclasses import dataclass

#: The default names: the prefix, a dot, and the word.
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
    """The names on the broker; an empty one gets its default from the prefix."""

    prefix: str = "sms"
    commands_exchange: str = ""
    command_queue: str = ""
    events_exchange: str = ""
    unrouted_queue: str = ""
    dead_queue: str = ""
    #: The queue of commands that the broker gave up; workers publish their outcomes.
    given_up_queue: str = ""

    def __post_init__(self) -> None:
        """Fill in the empty names."""
        for name, word in WORDS.items():
            if not getattr(self, name):
                object.__setattr__(self, name, f"{self.prefix}.{word}")

    @property
    def own_queues(self) -> frozenset[str]:
        """The queues to which no reply may go."""
        return frozenset({self.command_queue, self.unrouted_queue, self.dead_queue, self.given_up_queue})

    @property
    def source(self) -> str:
        """The CloudEvents `source` of the bridge's events."""
        return f"/sms-bridge/{self.prefix}"
