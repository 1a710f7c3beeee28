"""Ids of commands as logs and traces have them: whole, but for a phone number in them.

A service may make an id of a recipient's number. So the numbers of the id's own command are hidden in it, and nothing
else: an order number or a date stays, and can be searched for. Where nothing is known of the command, any run of digits
may be a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.domain.commands import Malformed
from bridge.domain.masks import Shown, mask_numbers, numbers_in, show_id

if TYPE_CHECKING:
    from bridge.domain.commands import Parsed, SendSms


def shown_id(parsed: Parsed) -> Shown | None:
    """Return the id of what was on the queue; None where it has none."""
    if isinstance(parsed, Malformed):
        return None if parsed.id is None else shown_beside(parsed.id, parsed.addresses)
    return None if parsed.id is None else show_id(parsed.id, lambda: _numbers(parsed))


def shown_beside(given: str, addresses: tuple[object, ...] | None) -> Shown:
    """Return an id of which all that is known is what stands beside it in fields for addresses; None for nothing."""
    if addresses is None:
        return Shown(mask_numbers(given))
    return show_id(given, lambda: numbers_in(str(addresses)))


def _numbers(command: SendSms) -> list[str]:
    return [address.wire for address in (*command.destinations, command.sender)]
