"""The forms of an address that the provider takes (wire reference 4.1), read apart from the bridge's own rules."""

from __future__ import annotations

import re

from bridge.simulator.errors import invalid_input

_ADDRESS = re.compile(r"(?:tel:)?(\+?[0-9]{3,15})|sip:(\+?[0-9]{3,15})@[A-Za-z0-9.-]+", re.ASCII)


def find_number(address: str) -> str | None:
    """Return the number in `address` without scheme and domain, None where it is not one of the accepted forms."""
    match = _ADDRESS.fullmatch(address)
    return match and (match[1] or match[2])


def number_of(address: str, part: str = "address") -> str:
    """Return the number in `address`.

    Raises:
        ApiError: not one of the accepted forms; the refusal names `part`.

    """
    number = find_number(address)
    if number is None:
        raise invalid_input(part)
    return number
