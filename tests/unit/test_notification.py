"""The order of a notification: its actions for each path."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bridge.domain.receipts import receipt_event
from bridge.ingest.actions import MakeDurable, Owner, Remember, Respond
from bridge.ingest.notification import NotificationFlow, NotificationRules
from bridge.ports.http_results import NotificationResult
from tests.harness.commands import NOW
from tests.harness.webhook import inbound, inbound_id
from tests.unit.sent_messages import STYLE, THEIRS, sent

if TYPE_CHECKING:
    from collections.abc import Iterable

RULES = NotificationRules(style=STYLE)
SENT = sent("c1")
INFO = {"address": THEIRS, "deliveryStatus": "DeliveredToTerminal", "messageId": SENT.message_id}
RECEIPT = {"deliveryInfoNotification": {"deliveryInfo": INFO, "id": "n1"}}
CANCELLATION = {
    "smsSubscriptionCancellationNotification": {"link": [], "dateTime": 1525895987, "id": "441fc36e"}
}
OUTBOUND = {
    "outboundSMSMessageNotification": {
        "outboundSMSMessage": {
            "dateTime": 1525895987,
            "destinationAddress": "+16131234567",
            "message": "hi",
            "messageId": "m1",
            "senderAddress": "+16137001234",
        },
        "id": "n1",
    }
}
INBOUND = inbound("m1")
ID = inbound_id("m1")
PUBLISHED = ["FindRepeat", "MakeDurable", "Respond PUBLISHED", "Remember"]
REPEATED = ["FindRepeat", "Respond REPEATED"]
REFUSED = ["FindRepeat", "MakeDurable", "Respond REFUSED"]
OURS, OTHERS = Owner(SENT), Owner(None)
NOT_ASKED = None


def carried_out(document: object, results: Iterable[object]) -> list[Any]:
    """Return a notification's actions for these results. Every result has to be used."""
    left: list[object] = list(results)
    actions: list[Any] = []
    steps = NotificationFlow().receive(json.dumps(document).encode(), RULES, now=NOW)
    result: object = None
    while True:
        try:
            action = steps.send(result)
        except StopIteration:
            assert not left
            return actions
        actions.append(action)
        waits = type(action).__name__ in {"FindOwner", "FindRepeat", "MakeDurable"}
        result = left.pop(0) if waits else None


def names(actions: Iterable[object]) -> list[str]:
    return [
        f"Respond {action.result.name}" if isinstance(action, Respond) else type(action).__name__
        for action in actions
    ]


@pytest.mark.parametrize(
    ("document", "results", "asked"),
    [
        pytest.param(INBOUND, [(), True], PUBLISHED, id="new"),
        pytest.param(INBOUND, [(), False], REFUSED, id="neither the broker nor the spool takes it"),
        pytest.param(INBOUND, [[ID]], REPEATED, id="remembered"),
        pytest.param(INBOUND, [NotificationResult.REPEATED], REPEATED, id="under way, and published"),
        pytest.param(
            INBOUND,
            [NotificationResult.REFUSED],
            ["FindRepeat", "Respond REFUSED"],
            id="under way, and not durable; or one too many",
        ),
        pytest.param([], [], ["RejectBody"], id="no notification"),
        pytest.param(CANCELLATION, [(), True], ["CheckSubscriptions", *PUBLISHED], id="a cancellation"),
        pytest.param(OUTBOUND, [(), True], ["RecordEvidence", *PUBLISHED], id="an outbound message"),
        pytest.param(RECEIPT, [OURS, (), True], ["FindOwner", *PUBLISHED], id="a receipt of ours"),
        pytest.param(
            RECEIPT,
            [OTHERS, OURS, (), True],
            ["FindOwner", "WaitForRecord", "FindOwner", *PUBLISHED],
            id="a receipt that is quicker than the worker",
        ),
        pytest.param(
            RECEIPT,
            [OTHERS, OTHERS, (), True],
            ["FindOwner", "WaitForRecord", "FindOwner", *PUBLISHED],
            id="a receipt of somebody else",
        ),
        pytest.param(
            RECEIPT, [NOT_ASKED, (), True], ["FindOwner", *PUBLISHED], id="a receipt without the ledger"
        ),
        pytest.param(
            {"deliveryInfoNotification": {"deliveryInfo": {**INFO, "messageId": None}, "id": "n1"}},
            [(), True],
            PUBLISHED,
            id="a receipt of no message",
        ),
    ],
)
def test_actions_of_a_notification_are_in_order(
    document: object, results: list[object], asked: list[str]
) -> None:
    assert names(carried_out(document, results)) == asked


def test_receipt_equals_the_event_of_a_status_query_and_is_known_by_both_ids() -> None:
    *_, durable, _, remembered = carried_out(RECEIPT, [OURS, (), True])
    *_, of_unknown_submission, _, by_itself = carried_out(RECEIPT, [OTHERS, OTHERS, (), True])

    assert isinstance(durable, MakeDurable)
    assert durable.event == receipt_event(SENT, "DeliveredToTerminal", style=STYLE, now=NOW)
    assert (of_unknown_submission.event.type, of_unknown_submission.event.subject) == (
        "sms.outbound.delivered",
        None,
    )
    assert remembered.ids == (durable.event.id, of_unknown_submission.event.id)
    assert by_itself.ids == (of_unknown_submission.event.id,)


def test_repeat_known_by_one_id_is_remembered_by_the_other() -> None:
    *_, other = carried_out(RECEIPT, [OTHERS, OTHERS, (), True])[-1].ids
    *_, last = carried_out(RECEIPT, [OURS, [other]])

    assert isinstance(last, Remember)
    assert other not in last.ids
    assert len(last.ids) == 1


def test_ledger_also_remembers_the_history_key_of_an_inbound_message() -> None:
    *_, last = carried_out(INBOUND, [(), True])

    assert isinstance(last, Remember)
    assert last.ids == (ID,)
    assert len(last.also) == 1
