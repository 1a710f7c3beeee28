"""Dead letters: filters, replayed messages, and replays that the ledger does not know."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from bridge.domain.command_parser import parse_command
from bridge.domain.commands import CommandRules, SendSms
from bridge.domain.dead_letters import BROKER, DeadLetter, DeadLetterFilter, read_letter, replay_of
from bridge.domain.deliveries import Death, dead_letter, read
from bridge.domain.events import event_id
from bridge.domain.evidence import Evidence, HistoryExtract
from bridge.domain.ledger import Claim, Lookup, RecordedResult, Replay, Resolve
from bridge.domain.match_keys import text_key
from bridge.domain.messages import Delivery
from bridge.domain.outcomes import EventFormat, Outcome
from bridge.domain.rules import LedgerRules, ReconcileRules
from tests.fakes.ledger import MemoryLedger

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = 1_800_000_000.0
RULES = CommandRules()
BODY = b'{"id": "one", "destination_address": ["+16131234567", "+16131234568"], "message": "hi"}'


def died(
    outcome: str = "failed",
    *,
    body: bytes = BODY,
    headers: Mapping[str, object] | None = None,
    **properties: object,
) -> Delivery:
    """Return a dead letter as the worker publishes it and the broker delivers it."""
    delivery = Delivery(body=body, tag=(0, 1), headers=headers or {}, properties=properties)
    death = Death(
        outcome=outcome, reason="SVC0002", command_id="one", index=1, attempts=2, event_id="e-1", at=NOW
    )
    received = read(delivery, rules=RULES, now=NOW, new_id=lambda: "spare")
    left = dead_letter(received, death, dead_queue="sms.dead")
    content_type = {} if left.content_type is None else {"content_type": left.content_type}
    return Delivery(
        body=left.body,
        tag=(0, 1),
        headers={**left.headers, "x-delivery-count": 3},
        properties={**left.properties, **content_type},
    )


def letter(delivery: Delivery) -> DeadLetter:
    return read_letter(delivery, rules=RULES, now=NOW)


def given_up(**headers: object) -> Delivery:
    """Return a command that the broker itself has dead-lettered."""
    death = {"reason": "delivery_limit", "time": datetime.fromtimestamp(NOW, UTC), "queue": "sms.send"}
    own = {"x-death": [death], "x-first-death-reason": "delivery_limit", "x-first-death-queue": "sms.send"}
    return Delivery(body=BODY, tag=(0, 1), headers={**own, **headers}, properties={"message_id": "one"})


def back(delivery: Delivery, *, resend: bool = False) -> Mapping[str, object]:
    return replay_of(letter(delivery), exchange="x", routing_key="send", resend=resend).headers


# --- reading ---------------------------------------------------------------------------------------------------------


def test_dead_letter_shows_its_reason() -> None:
    found = letter(died())

    assert (found.outcome, found.reason, found.command_id, found.index) == ("failed", "SVC0002", "one", 1)
    assert (found.attempts, found.event_id, found.dead_at) == (2, "e-1", NOW)
    assert (found.sender, found.destinations) == ("default", ("+16131234568",))
    assert "hi" not in repr(found)
    assert "613" not in repr(found)


def test_dead_letter_of_the_broker_shows_the_reason_of_the_broker() -> None:
    found = letter(given_up())

    assert (found.outcome, found.reason, found.dead_at) == (BROKER, "delivery_limit", NOW)
    assert (found.command_id, found.index, found.event_id) == ("one", None, None)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-bridge-outcome": 5, "x-bridge-index": "1", "x-bridge-dead-at": "soon", "x-bridge-attempts": True},
        {"x-death": "often", "x-bridge-event-id": b"\xff"},
        {"x-death": [[]], "x-bridge-outcome": "failed\x1b[31m"},
    ],
)
def test_malformed_headers_are_accepted(headers: dict[str, object]) -> None:
    found = letter(Delivery(body=b"\xff", tag=(0, 1), headers=headers))

    assert found.index is None
    assert "\x1b" not in found.outcome
    replay_of(found, exchange="x", routing_key="send", resend=True)


# --- filters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        (DeadLetterFilter(), True),
        (DeadLetterFilter(outcomes=("failed", "unknown")), True),
        (DeadLetterFilter(outcomes=("rejected",)), False),
        (DeadLetterFilter(reasons=("svc",)), True),
        (DeadLetterFilter(reasons=("POL",)), False),
        (DeadLetterFilter(senders=("default",)), True),
        (DeadLetterFilter(senders=("+16139998877",)), False),
        (DeadLetterFilter(ids=("one",)), True),
        (DeadLetterFilter(ids=("e-1", "other")), True),
        (DeadLetterFilter(ids=("e-2",)), False),
        (DeadLetterFilter(since=NOW), True),
        (DeadLetterFilter(since=NOW + 1), False),
        (DeadLetterFilter(before=NOW), False),
        (DeadLetterFilter(before=NOW + 1), True),
        (DeadLetterFilter(outcomes=("failed",), ids=("other",)), False),
    ],
)
def test_dead_letter_matches_when_all_filters_match(wanted: DeadLetterFilter, meant: bool) -> None:
    assert wanted.matches(letter(died())) is meant


def test_dead_letter_without_a_time_matches_no_time_filter() -> None:
    timeless = letter(Delivery(body=b"", tag=(0, 1)))

    assert DeadLetterFilter().matches(timeless)
    assert not DeadLetterFilter(since=0.0).matches(timeless)


# --- replayed messages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["rejected", "failed", "unknown"])
def test_known_submission_is_replayed_with_the_id_of_its_event(outcome: str) -> None:
    delivery = died(outcome, headers={"own": 1, "x-bridge-replay": "e-0", "x-bridge-resend": True})

    assert back(delivery) == {"own": 1, "x-bridge-replay": "e-1"}
    assert back(delivery, resend=True) == {"own": 1, "x-bridge-replay": "e-1", "x-bridge-resend": True}


def test_invalid_command_is_replayed_unchanged() -> None:
    assert back(died("invalid", headers={"own": 1})) == {"own": 1}
    assert back(died("invalid", headers={"x-bridge-replay": "e-0"})) == {"x-bridge-replay": "e-0"}


def test_command_dead_lettered_by_the_broker_is_replayed_with_its_version_and_without_x_death() -> None:
    assert back(given_up(own=1, **{"x-bridge-token": "3"})) == {"own": 1, "x-bridge-token": "3"}


def test_body_and_properties_are_replayed_unchanged() -> None:
    properties: dict[str, Any] = {
        "message_id": "m",
        "reply_to": "q",
        "correlation_id": "c",
        "priority": 3,
        "timestamp": 5,
    }
    sent = replay_of(
        letter(died(content_type="text/plain", **properties)), exchange="x", routing_key="send", resend=False
    )

    assert (sent.body, sent.content_type, dict(sent.properties)) == (BODY, "text/plain", properties)
    assert (sent.exchange, sent.routing_key) == ("x", "send")


def test_command_without_an_id_is_replayed_with_its_generated_id() -> None:
    nameless = died(body=json.dumps({**json.loads(BODY), "id": None}).encode())
    sent = replay_of(letter(nameless), exchange="x", routing_key="send", resend=False)

    assert sent.properties["message_id"] == "one"


# --- without a record in the ledger ----------------------------------------------------------------------------------


def replayed(replay: Replay, index: int, *messages: Evidence) -> Outcome | None:
    """Replay into an empty ledger with `messages` as the history, and return the result."""
    command = parse_command(BODY, None, rules=RULES, now=NOW)
    assert isinstance(command, SendSms)
    ledger, style = MemoryLedger(), EventFormat(source="/sms-bridge/sms")
    rules = LedgerRules(reconcile=ReconcileRules(settle=0.0, on_absent="resend"))
    claim = Claim(command=command, index=index, owner="o", now=NOW, style=style, rules=rules, replay=replay)
    assert isinstance(ledger.apply([claim])[0], Lookup)
    resolve = Resolve(
        command=command,
        command_id="one",
        index=index,
        owner="o",
        reading=HistoryExtract(messages=messages, total=len(messages), read_at=NOW + 1),
        now=NOW + 1,
        style=style,
        rules=rules,
    )
    recorded = ledger.apply([resolve])[0]
    assert isinstance(recorded, RecordedResult)
    return recorded.outcome


def test_pruned_submission_is_resent_only_on_request_and_alone() -> None:
    mine = event_id("outcome", "one", 1, 2)

    assert replayed(Replay(event_id=mine), 1) is Outcome.UNKNOWN
    assert replayed(Replay(event_id=mine, resend=True), 1) is None
    assert replayed(Replay(event_id=mine, resend=True), 0) is Outcome.UNKNOWN


def test_pruned_submission_is_found_at_any_age() -> None:
    ages_ago = Evidence(
        message_id="m",
        sender_address="+16139998877",
        destination_address="+16131234568",
        text_key=text_key("hi"),
        sent_at=NOW - 200 * 86400,
    )
    replay = Replay(event_id=event_id("outcome", "one", 1, 0), resend=True)

    assert replayed(replay, 1, ages_ago) is Outcome.SENT
