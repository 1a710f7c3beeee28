"""The mistakes the core can find in what it is given.

BridgeError
└── Invalid                  what was given is not valid, with every reason
    ├── InvalidAddress       not one of the accepted forms of an address
    └── InvalidNotification  a webhook body that is not a JSON object with an object in it
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


class InvalidNotification(Invalid):
    """The webhook body is not JSON, or no object with an object in it (SPEC section 6)."""
