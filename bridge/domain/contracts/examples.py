"""Examples of every message: what the bridge makes of a command, of its answers and of notifications."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.domain import events
from bridge.domain.answers import ProviderError
from bridge.domain.commands import CommandRules, Malformed, SendSms
from bridge.domain.contracts import letters
from bridge.domain.deliveries import Death, dead_letter, read, reply
from bridge.domain.events import outgoing_event
from bridge.domain.messages import Delivery
from bridge.domain.notification_events import to_event
from bridge.domain.notifications import parse_notification
from bridge.domain.outcomes import (
    Outcome,
    Style,
    SubmissionResult,
    deferred_event,
    invalid_event,
    outcome_event,
)
from bridge.domain.receipts import TYPES, SentSubmission, receipt_event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bridge.domain.messages import Outgoing
    from bridge.domain.names import Names

#: 2027-01-15T08:00:00Z.
_NOW = 1_800_000_000.0
COMMAND = {
    "id": "order-17",
    "destination_address": "+16131234567",
    "sender_address": "+16139998877",
    "message": "Your code is 123456",
    "expires_at": "2027-01-15T08:05:00Z",
    "metadata": {"order": "17"},
}
COMMAND_HEADERS = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}

_MESSAGE_ID = "SMf7e4a6b2"
_REFUSED = ProviderError(
    name="policyException", exception_id="POL0001", message="A policy error occurred.", http_status=403
)
_NO_ANSWER = ProviderError(name="timeout", message="no answer within 10 s")
_LATE = ProviderError(name="expired", message="expires_at passed before it could be submitted")
_NO_HISTORY = ProviderError(name="ambiguous", message="the history could not be read")
_SENT = SubmissionResult(
    attempts=1,
    message_id=_MESSAGE_ID,
    sender_address="+16139998877",
    delivery_status="DeliveredToNetwork",
)
_RESULTS = {
    Outcome.SENT: _SENT,
    Outcome.UNDELIVERABLE: SubmissionResult(
        attempts=1, message_id=_MESSAGE_ID, delivery_status="DeliveryImpossible"
    ),
    Outcome.REJECTED: SubmissionResult(attempts=1, error=_REFUSED),
    Outcome.EXPIRED: SubmissionResult(error=_LATE),
    Outcome.FAILED: SubmissionResult(attempts=21, error=ProviderError(name="http", http_status=429)),
    Outcome.UNKNOWN: SubmissionResult(attempts=1, error=_NO_HISTORY),
}

_LINK = "/cpaas/smsmessaging/v1/user"
#: The kinds of notifications (wire reference 7), one of each.
_NOTIFICATIONS: tuple[dict[str, dict[str, object]], ...] = (
    {
        "inboundSMSMessageNotification": {
            "inboundSMSMessage": {
                "dateTime": 1799999999,
                "destinationAddress": "+16139998877",
                "message": "STOP",
                "messageId": "SM5C24C4AB",
                "senderAddress": "+16131234567",
            },
            "dateTime": 1799999999,
            "id": "441fc36e-aab7-45dd-905c-4aaec7a7464d",
        }
    },
    {
        "outboundSMSMessageNotification": {
            "outboundSMSMessage": {
                "dateTime": 1799999999,
                "destinationAddress": "+16131234567",
                "message": "Your code is 123456",
                "messageId": _MESSAGE_ID,
                "senderAddress": "+16139998877",
            },
            "dateTime": 1799999999,
            "id": "f8a2f3b0-3b7d-4d3b-9f0c-6f6e2c6a1c55",
        }
    },
    {
        "smsSubscriptionCancellationNotification": {
            "link": [{"href": f"{_LINK}/inbound/subscriptions/s1", "rel": "Subscription"}],
            "dateTime": 1799999999,
            "id": "6ff7a1de-6b3e-43ae-9f1e-0c1a8a5a9d0e",
        }
    },
    {
        "smsEventNotification": {
            "eventDescription": "A message has been deleted.",
            "eventType": "MessageDeleted",
            "link": [
                {
                    "href": f"{_LINK}/remoteAddresses/+16131234567/localAddresses/+16139998877/messages/m1",
                    "rel": "smsMessage",
                }
            ],
            "dateTime": 1799999999000,
            "id": "8c30d6c7-35e6-4e2e-a1f8-9d3b5f0b6a11",
        }
    },
    {"chatMessageNotification": {"chatMessage": {"text": "hello"}, "id": "a9c1"}},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Messages as they are published."""

    events: Mapping[str, Outgoing]
    #: What is sent back to whoever asked for it.
    reply: Outgoing
    dead_letter: Outgoing


def make_examples(names: Names, *, camel_case: bool) -> Examples:
    """Return an example of each message that the bridge publishes, the same ones each time."""
    style = Style(source=names.source, camel_case=camel_case)
    made = {event.type: event for event in _events(style)}
    received = read(
        Delivery(
            body=json.dumps(COMMAND).encode(),
            tag=(0, 1),
            redelivered=False,
            properties={"reply_to": "orders.sms", "correlation_id": "7"},
            headers=COMMAND_HEADERS,
        ),
        rules=CommandRules(),
        now=_NOW,
        new_id=str,
    )
    answer = reply(received, made[events.SENT], events.CONTENT_TYPE, own_queues=frozenset())
    if answer is None:
        raise AssertionError("a command with a reply_to gets its reply")
    rejected = made[events.REJECTED]
    death = Death(
        outcome=Outcome.REJECTED,
        reason=str(_REFUSED.exception_id),
        command_id=rejected.subject,
        index=0,
        attempts=1,
        event_id=rejected.id,
        at=_NOW,
    )
    return Examples(
        events={
            type_: outgoing_event(event, exchange=names.events_exchange, unrouted_queue=names.unrouted_queue)
            for type_, event in made.items()
        },
        reply=answer,
        dead_letter=dead_letter(received, death, dead_queue=names.dead_queue),
    )


def letter_headers(letter: Outgoing) -> dict[str, object]:
    """Return the headers that a death has added."""
    return {name: value for name, value in letter.headers.items() if name in letters.HEADERS.names}


def _events(style: Style) -> Iterator[events.Event]:
    command = _command()
    traceparent = COMMAND_HEADERS["traceparent"]
    for outcome, result in _RESULTS.items():
        yield outcome_event(outcome, command, 0, result, style=style, now=_NOW, traceparent=traceparent)
    missing = Malformed(id="order-18", reasons=("message is missing",))
    yield invalid_event(missing, "00", style=style, now=_NOW)
    yield deferred_event(
        command, 0, SubmissionResult(attempts=1, error=_NO_ANSWER), retry_at=_NOW + 60, style=style, now=_NOW
    )
    told = outcome_event(Outcome.SENT, command, 0, _SENT, style=style, now=_NOW, traceparent=traceparent)
    sent = SentSubmission(command_id="order-17", index=0, replay=0, message_id=_MESSAGE_ID, event=told.body)
    for status in TYPES:
        yield receipt_event(sent, status, style=style, now=_NOW + 30)
    for notification in _NOTIFICATIONS:
        parsed = parse_notification(json.dumps(notification).encode())
        yield to_event(parsed, source=style.source, time=_NOW, camel_case=style.camel_case)


def _command() -> SendSms:
    delivery = Delivery(body=json.dumps(COMMAND).encode(), tag=(0, 1), redelivered=False)
    parsed = read(delivery, rules=CommandRules(), now=_NOW, new_id=str).parsed
    if not isinstance(parsed, SendSms):
        raise TypeError("the example is a valid command")
    return parsed
