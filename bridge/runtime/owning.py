"""Makes a receipt that the provider posts by itself the event of the submission it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.core.receipts import receipt_event
from bridge.flows.notify import receipt_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bridge.core.events import Event
    from bridge.core.outcomes import Style
    from bridge.core.receipts import Sent
    from bridge.ports import Clock


class Owning:
    """Used on one event loop."""

    def __init__(self, sent: Callable[[str], Awaitable[Sent | None]], *, style: Style, clock: Clock) -> None:
        """`sent` says which submission a message of the provider's is, None where that is not known soon."""
        self._sent = sent
        self._style = style
        self._clock = clock

    async def own(self, event: Event) -> Event:
        """Return the event that asking would have made, with its id; `event` itself where it is nothing of ours."""
        receipt = receipt_of(event)
        sent = None if receipt is None else await self._sent(receipt.message_id)
        if receipt is None or sent is None:
            return event
        return receipt_event(sent, receipt.status, style=self._style, now=self._clock.now())
