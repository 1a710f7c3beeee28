"""The bodies of notifications (wire reference 7), and times as the provider writes them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.simulator.history import SimulatedMessage


def moment(at: float, units: str, usual: str = "s") -> int:
    """Return `at` (s) in `units`: ``s``, ``ms``, or with ``mixed`` in what is `usual` for the place."""
    return int(at * 1000) if (usual if units == "mixed" else units) == "ms" else int(at)


def of_message(message: SimulatedMessage, now: float, units: str) -> dict[str, object]:
    """Return the notification that `message` came or went."""
    inbound = message.direction == "Inbound"
    sender, destination = (message.remote, message.local) if inbound else (message.local, message.remote)
    inner = {
        "dateTime": moment(message.at, units),
        "destinationAddress": destination,
        "message": message.text,
        "messageId": message.id,
        "senderAddress": sender,
    }
    name = "inboundSMSMessage" if inbound else "outboundSMSMessage"
    return {f"{name}Notification": {name: inner, **_stamp(moment(now, units))}}


def of_cancellation(href: str, now: float, units: str) -> dict[str, object]:
    """Return the notification that the subscription at `href` is gone."""
    link = [{"href": href, "rel": "Subscription"}]
    return {"smsSubscriptionCancellationNotification": {"link": link, **_stamp(moment(now, units))}}


def of_deletion(href: str, now: float, units: str) -> dict[str, object]:
    """Return the notification that the message at `href` was deleted."""
    inner = {
        "eventDescription": "A message has been deleted.",
        "eventType": "MessageDeleted",
        "link": [{"href": href, "rel": "smsMessage"}],
    }
    return {"smsEventNotification": {**inner, **_stamp(moment(now, units, usual="ms"))}}


def of_status(message: SimulatedMessage) -> dict[str, object]:
    """Return the notification of what became of `message`; the provider gives it no id."""
    inner = {"address": message.remote, "deliveryStatus": message.status, "messageId": message.id}
    return {"deliveryInfoNotification": {"deliveryInfo": inner}}


def _stamp(at: int) -> dict[str, object]:
    return {"dateTime": at, "id": str(uuid.uuid4())}
