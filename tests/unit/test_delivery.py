"""The order of a delivery: its actions for each path."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bridge.app.command_client import send_rules
from bridge.domain.answers import Accepted, Ambiguous, Blocked, ProviderError, Refused, Unsent
from bridge.domain.contracts import letters
from bridge.domain.deliveries import TOKEN
from bridge.domain.ledger import (
    Call,
    Conflict,
    HasOutcome,
    Lookup,
    NotBefore,
    RecordedResult,
    StoredEvent,
    Superseded,
)
from bridge.domain.ledger.claim import SHORT_WAIT
from bridge.domain.messages import Delivery
from bridge.domain.outcomes import Outcome
from bridge.domain.submissions import Attempted
from bridge.settings import Settings
from bridge.worker.actions import Answered, Claimed, Fork, HistoryRead, Joined, Recorded
from bridge.worker.delivery import CommandDelivery

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.domain.answers import Answer
    from bridge.domain.ledger import Verdict

NOW = 1_800_000_000.0
RULES = send_rules(Settings())
ERROR = ProviderError(name="http")
CONFIRMED = StoredEvent(event_id="e", body=b"{}")
ENDED = RecordedResult(outcome=Outcome.SENT, stored_event=CONFIRMED)
AGAIN_LATER = RecordedResult(retry_at=NOW + 60)
AGAIN_NOW = RecordedResult(retry_at=NOW)
CALL = Call(attempts=0, first_attempt_at=NOW, version=0)
DONE = ["AwaitConfirms", "Acknowledge"]
REQUEUED = ["AwaitConfirms", "Requeue"]
COPIED = ["BeginVersion", "PublishCopy", *DONE]
SENT = ["ClaimSubmission", "SendSubmission", "RecordResult"]


def command(**changes: Any) -> bytes:
    fields = {"id": "order-17", "destination_address": "+16131234567", "message": "hello", **changes}
    return json.dumps(fields).encode()


def claimed(verdict: Verdict | None) -> Claimed:
    return Claimed(verdict, "me 1", NOW)


def answered(answer: Answer, attempts: int = 1) -> Answered:
    return Answered(Attempted(answer=answer, attempts=attempts), NOW, 0.5)


def recorded(recorded: RecordedResult | None) -> Recorded:
    return Recorded(recorded, NOW)


def asked(delivery: Delivery, results: Iterable[object], *, lost: bool = False) -> list[str]:
    """Return the names of a delivery's actions for these results, one submission at a time.

    Publications return nothing. Every result has to be used.
    """
    left = list(results)
    names: list[str] = []

    def run(steps: Any) -> None:
        result: object = None
        while True:
            try:
                action = steps.send(result)
            except StopIteration:
                return
            result = None
            if isinstance(action, Fork):
                for branch in action.branches:
                    run(branch)
                result = Joined(lost=lost, now=NOW)
                continue
            name = type(action).__name__
            names.append(name)
            if not name.startswith(("Publish", "Return", "Await", "Acknowledge", "Requeue", "Pause")):
                result = left.pop(0)

    run(CommandDelivery(delivery, RULES, now=NOW, new_id=lambda: "made-up").steps())
    assert not left
    return names


#: More destinations than the settings allow now.
TOO_MANY = command(destination_address=[f"+1613{number:07}" for number in range(2_000_000, 2_002_000)])
ACCEPTED = Accepted(message_id="m", sender_address=None, delivery_status=None, http_status=201)


@pytest.mark.parametrize(
    ("results", "actions"),
    [
        pytest.param(
            [claimed(CALL), answered(ACCEPTED), recorded(ENDED)],
            [*SENT, "PublishOutcome", *DONE],
            id="sent",
        ),
        pytest.param(
            [claimed(CALL), answered(Refused(error=ERROR)), recorded(ENDED)],
            [*SENT, "PublishOutcome", *DONE],
            id="refused",
        ),
        pytest.param(
            [claimed(CALL), answered(Unsent(error=ERROR)), recorded(AGAIN_LATER), 1],
            [*SENT, *COPIED],
            id="tried again later by a copy",
        ),
        pytest.param(
            [claimed(CALL), answered(Ambiguous(error=ERROR)), recorded(AGAIN_LATER), None],
            [*SENT, *COPIED],
            id="in doubt, and another delivery speaks for it",
        ),
        pytest.param(
            [
                claimed(Lookup(version=1)), HistoryRead(None, NOW), recorded(ENDED),
            ],
            ["ClaimSubmission", "ReadHistory", "RecordResult", "PublishOutcome", *DONE],
            id="looked up",
        ),
        pytest.param(
            [
                claimed(CALL), answered(Blocked(error=ERROR)), recorded(AGAIN_NOW),
                claimed(CALL), answered(ACCEPTED), recorded(ENDED),
            ],
            [*SENT, *SENT, "PublishOutcome", *DONE],
            id="blocked, then claimed again",
        ),
        pytest.param(
            [claimed(CALL), answered(ACCEPTED), recorded(None)],
            [*SENT, *REQUEUED],
            id="its claim was lost",
        ),
        pytest.param([claimed(None)], ["ClaimSubmission", "Pause", *REQUEUED], id="not claimed"),
        pytest.param(
            [claimed(HasOutcome(outcome=Outcome.SENT, stored_event=CONFIRMED))],
            ["ClaimSubmission", "PublishOutcome", *DONE],
            id="a duplicate",
        ),
        pytest.param([claimed(Superseded())], ["ClaimSubmission", *DONE], id="a stale copy"),
        pytest.param(
            [claimed(Conflict())], ["ClaimSubmission", "PublishInvalid", *DONE], id="another one's id"
        ),
        pytest.param(
            [claimed(NotBefore(at=NOW + 60, own=True, version=0)), 1],
            ["ClaimSubmission", *COPIED],
            id="scheduled",
        ),
        pytest.param(
            [claimed(NotBefore(at=NOW + 60, own=False))],
            ["ClaimSubmission", "PublishCopy", *DONE],
            id="another delivery has it",
        ),
        pytest.param(
            [
                claimed(NotBefore(at=NOW + SHORT_WAIT, own=True, limited=True, version=0)), True,
                claimed(CALL), answered(ACCEPTED), recorded(ENDED),
            ],
            ["ClaimSubmission", "WaitHere", *SENT, "PublishOutcome", *DONE],
            id="waits for its rate limit",
        ),
        pytest.param(
            [claimed(NotBefore(at=NOW + SHORT_WAIT, own=True, limited=True, version=0)), False, 1],
            ["ClaimSubmission", "WaitHere", *COPIED],
            id="no room to wait for its rate limit",
        ),
    ],
)  # fmt: skip
def test_actions_of_a_command_are_in_order(results: list[object], actions: list[str]) -> None:
    assert asked(Delivery(command(), tag=(1, 1)), results) == actions


def test_copy_follows_all_submissions_and_an_outcome_is_published_before_it() -> None:
    two = command(destination_address=["+16131234567", "+16131234568"])
    results = [
        claimed(CALL), answered(ACCEPTED), recorded(ENDED),
        claimed(CALL), answered(Unsent(error=ERROR)), recorded(AGAIN_LATER), 1,
    ]  # fmt: skip

    assert asked(Delivery(two, tag=(1, 1)), results) == [*SENT, "PublishOutcome", *SENT, *COPIED]


def test_lost_connection_leaves_a_copy_of_sent_submissions_and_none_of_anothers() -> None:
    delivery = Delivery(command(), tag=(1, 1))
    sent = [claimed(CALL), answered(Unsent(error=ERROR)), recorded(AGAIN_LATER), 1]
    waits = [claimed(NotBefore(at=NOW + 60, own=False))]

    assert asked(delivery, sent, lost=True) == [*SENT, *COPIED]
    assert asked(delivery, waits, lost=True) == ["ClaimSubmission", *DONE]


@pytest.mark.parametrize(
    ("delivery", "results", "actions"),
    [
        pytest.param(Delivery(b"?", tag=(1, 1)), [], ["PublishInvalid", *DONE], id="no command"),
        pytest.param(
            Delivery(
                command(),
                tag=(1, 1),
                headers={letters.OUTCOME: "failed", letters.EVENT_ID: "e", letters.COMMAND_ID: "order-17"},
            ),
            [],
            ["ReturnDeadLetter", *DONE],
            id="a dead letter that was moved",
        ),
        pytest.param(
            Delivery(TOO_MANY, tag=(1, 1), headers={TOKEN: "1"}),
            [b"another"],
            ["FindCommand", "PublishInvalid", *DONE],
            id="invalid now, and never taken",
        ),
        pytest.param(
            Delivery(TOO_MANY, tag=(1, 1), redelivered=True),
            [None],
            ["FindCommand", "Pause", *REQUEUED],
            id="invalid now, and the ledger can not be asked",
        ),
    ],
)
def test_delivery_of_an_invalid_command_claims_nothing(
    delivery: Delivery, results: list[object], actions: list[str]
) -> None:
    assert asked(delivery, results) == actions
