"""The errors that the domain finds in its input.

BridgeError
└── Invalid                  what was given is not valid, with every reason
    ├── InvalidAddress       not one of the accepted forms of an address
    ├── InvalidCommand       a command that is not valid, each reason with its field
    ├── InvalidNotification  a webhook body that is not a JSON object with an object in it
    └── UnreadableCommand    a command that is no JSON object, or whose id nobody can tell
"""

from __future__ import annotations


class BridgeError(Exception):
    """Base of what the bridge itself raises."""


class Invalid(BridgeError):
    """What was given is not valid. The reasons name fields, never values: they may be logged."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class InvalidAddress(Invalid):
    """Not one of the accepted forms of an address (SPEC section 5)."""


class CommandInvalid(Invalid):
    """Not a valid command (SPEC section 3.1); each reason begins with the name of its field."""

    def __init__(self, *reasons: str, addresses: tuple[object, ...] | None = None) -> None:
        """`addresses` is what its fields for addresses hold; None where it has none that can be read."""
        super().__init__(*reasons)
        self.addresses = addresses


class UnreadableCommand(Invalid):
    """A command that is not a JSON object, or that does not say what it is known by."""


class InvalidNotification(Invalid):
    """The webhook body is not JSON, or no object with an object in it (SPEC section 6)."""
