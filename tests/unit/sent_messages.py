"""Submissions that were sent, as the ledger has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.domain.outcomes import EventFormat, Outcome, SubmissionResult, outcome_event
from bridge.domain.receipts import SentSubmission
from tests.harness.commands import NOW, read_command

if TYPE_CHECKING:
    from bridge.domain.commands import SendSms

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STYLE = EventFormat(source="/sms-bridge/sms")
OURS, THEIRS = "+16139998877", "+16131234567"


def command(command_id: str = "c1", **fields: object) -> SendSms:
    own = {"id": command_id, "destination_address": THEIRS, "metadata": {"order_no": "17"}}
    return read_command(own | fields)


def sent(
    command_id: str = "c1", *, style: EventFormat = STYLE, replay: int = 0, **result: Any
) -> SentSubmission:
    """Return a submission that was sent as the message ``m-<command id>``."""
    message_id = f"m-{command_id}"
    given: dict[str, Any] = {
        "attempts": 1,
        "message_id": message_id,
        "sender_address": OURS,
        "replay": replay,
    }
    event = outcome_event(
        Outcome.SENT,
        command(command_id),
        0,
        SubmissionResult(**(given | result)),
        style=style,
        now=NOW,
        traceparent=TRACEPARENT,
    )
    return SentSubmission(
        command_id=command_id, index=0, replay=replay, message_id=message_id, event=event.body
    )
