"""Command ids for logs and traces, with phone numbers masked.

A service may make an id from a recipient's number. So only the numbers of the id's own command are hidden in it; an
order number or a date stays searchable. If nothing is known of the command, any long run of digits is hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.domain.commands import Malformed
from bridge.domain.masks import Shown, mask_numbers, numbers_in, show_id

if TYPE_CHECKING:
    from bridge.domain.commands import Parsed, SendSms


def shown_id(parsed: Parsed) -> Shown | None:
    """Return the id of a parsed command for logs; None if it has none."""
    if isinstance(parsed, Malformed):
        return None if parsed.id is None else shown_beside(parsed.id, parsed.addresses)
    return None if parsed.id is None else show_id(parsed.id, lambda: _numbers(parsed))


def shown_beside(given: str, addresses: tuple[object, ...] | None) -> Shown:
    """Return an id for logs, with the values of its command's address fields; None if they are not known."""
    if addresses is None:
        return Shown(mask_numbers(given))
    return show_id(given, lambda: numbers_in(str(addresses)))


def _numbers(command: SendSms) -> list[str]:
    return [address.wire for address in (*command.destinations, command.sender)]
