"""The work of both peers for a notification: the sender is checked, and an inbound SMS becomes an event."""

from __future__ import annotations

import hmac
import os
import uuid
from datetime import UTC, datetime

BROKER = os.environ["BENCH_BROKER"]
EVENTS = os.environ["BENCH_EVENTS"]
_SECRET = os.environ["BENCH_SECRET"].encode()


def is_allowed(authorization: str) -> bool:
    """Return whether the header is ours, in constant time."""
    return hmac.compare_digest(authorization.encode(), _SECRET)


def event_of(notification: dict) -> dict:
    """Return the event of an inbound SMS; a repeat has the same id."""
    message = notification["inboundSMSMessageNotification"]["inboundSMSMessage"]
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, message["messageId"])),
        "type": "sms.inbound.received",
        "source": "/bench",
        "time": datetime.now(UTC).isoformat(),
        "data": {
            "message_id": message["messageId"],
            "sender_address": message["senderAddress"],
            "destination_address": message["destinationAddress"],
            "message": message["message"],
        },
    }
