"""Commands that the broker gives up, and dead letters moved by hand: one outcome, no second SMS."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from bridge.adapters.amqp.deliveries import reason_of_death
from bridge.domain.command_parser import parse_command
from bridge.domain.commands import CommandRules, SendSms
from bridge.domain.dead_letters import read_letter, replay_of
from bridge.domain.deliveries import GIVEN_UP, TOKEN, read
from bridge.domain.events import event_id, rfc3339
from bridge.domain.evidence import HistoryExtract
from bridge.domain.ledger import Call, Claim, Lookup, NotBefore, RecordedResult, Resolve
from bridge.domain.messages import Delivery, Outgoing
from bridge.domain.outcomes import EventFormat, Outcome
from bridge.settings import Settings
from tests.fakes.ledger import MemoryLedger
from tests.fakes.publisher import FakePublisher
from tests.harness.contract_check import event_of
from tests.harness.waiting import wait_until
from tests.unit.test_receiving import Counting
from tests.unit.worker_setup import IdleSource, body_of, worker_on

if TYPE_CHECKING:
    from collections.abc import Sequence

RULES = CommandRules()
NOW = 1_800_000_000.0
STYLE = EventFormat(source="/sms-bridge/sms")


class GiveUpModel:
    """A ledger and a provider; each delivery has a separate worker."""

    def __init__(self) -> None:
        self.ledger, self.gateway = MemoryLedger(), Counting()
        self.logs: Sequence[Any] = ()

    def deliver(self, delivery: Delivery, **settings: object) -> list[Outgoing]:
        """Return the messages published until the delivery was acknowledged."""
        publisher, source = FakePublisher(), IdleSource()
        configured = Settings.model_validate(settings)
        with capture_logs() as self.logs:
            worker = worker_on(self.ledger, threading.Event(), publisher, self.gateway, settings=configured)
            worker.start(source)
            worker.receive(delivery)
            wait_until(lambda: source.settled, what="the delivery to be settled")
            assert worker.stop(grace=10)
        publisher.close()

        assert not source.requeued
        return list(publisher.taken)


def given_up(reason: str, **fields: object) -> Delivery:
    return Delivery(body_of("a", **fields), tag=(1, 1), redelivered=True, given_up=reason)


def delivered(message: Outgoing) -> Delivery:
    """Return the messages published on a redelivery."""
    return Delivery(message.body, tag=(1, 1), properties=message.properties, headers=message.headers)


@pytest.mark.parametrize(
    ("reason", "outcome"), [("expired", "expired"), ("maxlen", "failed"), ("delivery_limit", "failed")]
)
def test_unsent_command_that_the_broker_gives_up_has_one_outcome_and_is_dead_lettered(
    reason: str, outcome: str
) -> None:
    model = GiveUpModel()
    event, letter = model.deliver(given_up(reason, send_at=rfc3339(time.time() + 3600)))
    again, _ = model.deliver(given_up(reason))

    assert event_of(event.body)["type"] == f"sms.outbound.{outcome}"
    assert event_of(event.body)["id"] == event_id("outcome", "a", 0, 0)
    assert event_of(event.body)["data"]["error"]["name"] == reason
    assert (letter.routing_key, letter.headers["x-bridge-outcome"]) == ("sms.dead", outcome)
    assert again.body == event.body
    assert model.gateway.sent == 0


def test_replay_sends_a_command_that_expired_in_the_broker() -> None:
    model = GiveUpModel()
    _, letter = model.deliver(given_up("expired"))
    read_back = read_letter(delivered(letter), rules=RULES, now=NOW)
    copy = replay_of(read_back, exchange="sms.commands", routing_key="send", resend=False)
    (sent,) = model.deliver(delivered(copy))

    assert event_of(sent.body)["type"] == "sms.outbound.sent"
    assert event_of(sent.body)["id"] == event_id("outcome", "a", 0, 1)
    assert model.gateway.sent == 1


def test_sent_command_stays_sent_when_its_redelivery_is_given_up() -> None:
    model = GiveUpModel()
    (sent,) = model.deliver(Delivery(body_of("a"), tag=(1, 1)))
    (again,) = model.deliver(given_up("expired"))

    assert again.body == sent.body
    assert model.gateway.sent == 1


def claim(now: float, *, given_up: str | None = None) -> Claim:
    parsed = parse_command(body_of("a"), None, rules=RULES, now=NOW)
    assert isinstance(parsed, SendSms)
    return Claim(
        command=replace(parsed, given_up=given_up),
        index=0,
        owner=f"w {now}",
        now=now,
        style=STYLE,
        redelivered=True,
    )


@pytest.mark.parametrize(
    ("reading", "outcome"),
    [
        (HistoryExtract(total=0, read_at=NOW + 1000), Outcome.EXPIRED),
        (
            HistoryExtract(total=1000, complete=False, oldest_at=NOW + 900, read_at=NOW + 1000),
            Outcome.UNKNOWN,
        ),
    ],
)
def test_given_up_submission_in_doubt_is_decided_by_the_history_and_not_resent(
    reading: HistoryExtract, outcome: Outcome
) -> None:
    ledger = MemoryLedger()
    (calling,) = ledger.apply([claim(NOW)])
    (waiting,) = ledger.apply([claim(NOW + 1, given_up="expired")])
    late = claim(NOW + 1000, given_up="expired")
    (looking,) = ledger.apply([late])
    (recorded,) = ledger.apply(
        [
            Resolve(
                command=late.command, command_id="a", index=0, owner=late.owner,
                reading=reading, now=NOW + 1000, style=STYLE,
            )
        ]
    )  # fmt: skip

    assert isinstance(calling, Call)
    # The calling worker has the lease.
    assert isinstance(waiting, NotBefore)
    assert not waiting.own
    assert isinstance(looking, Lookup)
    assert isinstance(recorded, RecordedResult)
    assert recorded.outcome is outcome


def test_copy_has_the_reason_of_the_give_up_and_a_client_cannot_forge_it() -> None:
    copy = Delivery(body_of("a"), tag=(1, 1), headers={TOKEN: "3", GIVEN_UP: "expired"})
    unknown_clients = Delivery(body_of("a"), tag=(1, 1), headers={GIVEN_UP: "expired"})
    forged = Delivery(body_of("a"), tag=(1, 1), headers={TOKEN: "3", GIVEN_UP: "two\nlines"})

    assert read(copy, rules=RULES, now=NOW, new_id=str).given_up == "expired"
    assert read(forged, rules=RULES, now=NOW, new_id=str).given_up == "unknown"
    assert read(unknown_clients, rules=RULES, now=NOW, new_id=str).given_up is None


@pytest.mark.parametrize("body", [body_of("a", send_at="tomorrow"), b"no command", b"{}"])
def test_moved_dead_letter_returns_with_a_hint_for_its_replay(body: bytes) -> None:
    model = GiveUpModel()
    event, letter = model.deliver(Delivery(body, tag=(1, 1), headers={"own": "yes"}))
    (returned,) = model.deliver(delivered(letter))
    (line,) = [line for line in model.logs if line["event"] == "dead_letter.returned"]

    assert event.routing_key == "sms.outbound.invalid"
    assert (returned.exchange, returned.routing_key, returned.body) == ("", "sms.dead", body)
    assert returned.headers == letter.headers
    assert "bridge dead replay" in line["hint"]
    assert line["event_id"] == event_of(event.body)["id"]


def test_moved_letter_of_a_command_without_an_id_is_not_sent() -> None:
    model = GiveUpModel()
    allowed = {"commands": {"allow_missing_id": True}}
    nameless = body_of("a").replace(b'"id": "a", ', b"")
    _, letter = model.deliver(Delivery(nameless, tag=(1, 1), redelivered=True, given_up="expired"), **allowed)
    (returned,) = model.deliver(delivered(letter), **allowed)

    assert b'"id"' not in nameless
    assert returned.headers == letter.headers
    assert model.gateway.sent == 0


def test_new_command_with_the_copied_headers_of_a_letter_is_sent() -> None:
    model = GiveUpModel()
    _, letter = model.deliver(given_up("expired"))
    (sent,) = model.deliver(replace(delivered(letter), body=body_of("b")))

    assert event_of(sent.body)["type"] == "sms.outbound.sent"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "unknown"),
        ({"x-death": "no list"}, "unknown"),
        ({"x-death": [1, {"queue": "sms.send"}, {"queue": "sms.send", "reason": "maxlen"}]}, "maxlen"),
        # A copy has passed the delay queues, in which each message expires.
        # Any program may publish to the queue of given-up commands.
        ({"x-death": [{"queue": "sms.send", "reason": "two\nlines"}]}, "unknown"),
        ({"x-death": [{"queue": "sms.send", "reason": "x" * 41}]}, "unknown"),
        (
            {
                "x-death": [
                    {"queue": "sms_1", "reason": "expired"},
                    {"queue": "sms.send", "reason": "rejected"},
                ]
            },
            "rejected",
        ),
    ],
)
def test_reason_is_that_of_the_command_queue(headers: dict[str, object], reason: str) -> None:
    assert reason_of_death(headers, "sms.send") == reason
