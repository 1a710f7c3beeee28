"""Errors of the domain: invalid input.

BridgeError
└── Invalid                  invalid input, with all reasons
    ├── InvalidAddress       not one of the accepted forms of an address
    ├── CommandInvalid       a command that is not valid, each reason with its field
    ├── InvalidNotification  a webhook body that is not a JSON object with an object in it
    └── UnreadableCommand    a command that is not a JSON object, or whose id is missing or contradictory
"""

from __future__ import annotations


class BridgeError(Exception):
    """Base of the bridge's own errors."""


class Invalid(BridgeError):
    """Invalid input. The reasons name fields, never values, so that they may be logged."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class InvalidAddress(Invalid):
    """Not one of the accepted forms of an address (SPEC section 5)."""


class CommandInvalid(Invalid):
    """Not a valid command (SPEC section 3.1); each reason begins with the name of its field."""

    def __init__(self, *reasons: str, addresses: tuple[object, ...] | None = None) -> None:
        """`addresses` has the values of the address fields; None if no field can be parsed."""
        super().__init__(*reasons)
        self.addresses = addresses


class UnreadableCommand(Invalid):
    """A command that is not a JSON object, or whose id is missing or contradictory."""


class InvalidNotification(Invalid):
    """The webhook body is not JSON, or not an object with an object in it (SPEC section 6)."""
