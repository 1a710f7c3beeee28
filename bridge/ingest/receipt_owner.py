"""Makes a receipt that the provider posts by itself the event of the submission it is about.

The provider may be quicker than the worker, which files a submission as `sent` a moment after the provider took it: so
whose the ledger does not know is looked for once more. What is nobody's then is somebody else's for good, sent from
elsewhere in the account; refused, it would come again for ever.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bridge.domain.notification_events import receipt_of
from bridge.domain.receipts import receipt_event
from bridge.ports import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bridge.domain.events import Event
    from bridge.domain.notification_events import ReceiptNotification
    from bridge.domain.outcomes import Style
    from bridge.domain.receipts import SentSubmission
    from bridge.ports import Clock

#: Seconds until it is looked for again whose a message is, and the part of the time left that this may be at most.
AGAIN = 1.0
SHARE = 0.25


class Owning:
    """Used on one event loop."""

    def __init__(
        self, sent: Callable[[str], Awaitable[SentSubmission | None]], *, style: Style, clock: Clock
    ) -> None:
        """`sent` says which submission a message of the provider's is; it may raise LedgerUnavailable."""
        self._sent = sent
        self._style = style
        self._clock = clock

    def own(self, event: Event, until: float) -> Awaitable[Event] | None:
        """Return what finds the event that asking would have made, with its id; None where it is no receipt.

        Where it is nothing of ours that is `event` itself. `until` is when nobody waits any longer, in the event loop's
        time.
        """
        receipt = receipt_of(event)
        return None if receipt is None else self._owned(event, receipt, until)

    async def _owned(self, event: Event, receipt: ReceiptNotification, until: float) -> Event:
        sent = await self._owner(receipt.message_id, until)
        if sent is None:
            return event
        return receipt_event(sent, receipt.status, style=self._style, now=self._clock.now())

    async def _owner(self, message_id: str, until: float) -> SentSubmission | None:
        try:
            sent = await self._sent(message_id)
            if sent is None:
                left = until - asyncio.get_running_loop().time()
                await asyncio.sleep(min(AGAIN, left * SHARE))
                sent = await self._sent(message_id)
        except LedgerUnavailable:
            return None
        return sent
