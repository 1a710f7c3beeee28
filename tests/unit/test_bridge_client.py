"""The Python client for other services, without a broker: imports, validation, events and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from bridge.app.contract import examples
from bridge.client import (
    Client,
    ClientError,
    Command,
    ConfigurationError,
    Consumer,
    Deferred,
    Event,
    InvalidCommand,
    Message,
    NoOutcomeYet,
    Options,
    Outcome,
    OutcomeError,
    Receipt,
    Result,
    SeenInMemory,
    Sent,
)
from bridge.client.commands import make_ready
from bridge.client.events import NotAnEvent, event_from
from bridge.domain.command_parser import parse_command
from bridge.domain.commands import CommandRules, SendSms
from bridge.domain.contracts.events import TYPES
from bridge.domain.events import TERMINAL
from bridge.domain.names import Names

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_790_000_000.0
TO = "+16131234567"
NAMES = Names()
#: Modules that a client that only sends SMS does not need: the rest of the bridge and its dependencies.
UNWANTED = {
    "alembic", "click", "httptools", "jwt", "phonenumbers", "prometheus_client", "psycopg", "pydantic", "requests",
    "rich", "sqlalchemy", "structlog", "tenacity", "urllib3", "bridge.settings",
    "bridge.worker", "bridge.ingest", "bridge.jobs", "bridge.ops",
    "bridge.app", "bridge.cli", "bridge.adapters.store", "bridge.adapters.cpaas", "bridge.adapters.http",
}  # fmt: skip


def test_import_of_the_client_loads_no_server_modules() -> None:
    program = "import bridge.client, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=30)
    loaded = set(json.loads(done.stdout))

    assert not loaded & UNWANTED
    # The count depends little on the machine: 282 with kombu, which has most of them, and 400 with structlog and rich.
    assert len(loaded) < 350


@pytest.mark.parametrize("make", [Client, lambda url: Consumer(url, "billing.sms")])
@pytest.mark.parametrize(
    "url",
    [
        "", [], ["amqp://a", ""], "http://guest:hunter2@localhost",
        "amqp://u:hunter2@a;amqp://u:hunter2@b", "amqp://u:hunter2@a?connect_timeout=1",
    ],
)  # fmt: skip
def test_invalid_url_is_refused_before_connecting(make: Any, url: object) -> None:
    with pytest.raises(ConfigurationError) as refused:
        make(url)

    assert isinstance(refused.value, ValueError)
    assert "URL" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_invalid_tls_file_is_refused_before_connecting(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for options, reason in [
        (Options(ca_file=tmp_path / "missing.pem"), "ca_file can't be read"),
        (Options(ca_file=tmp_path / "empty.pem"), "ca_file holds no certificates"),
        (Options(certificate=tmp_path / "empty.pem"), "certificate holds no certificate"),
        (Options(certificate=tmp_path / "empty.pem", key=tmp_path / "missing.pem"), "key can't be read"),
    ]:
        with pytest.raises(ConfigurationError, match=reason):
            Client("amqps://localhost", options)
        with pytest.raises(ConfigurationError, match="amqps://"):
            Client("amqp://localhost", options)


def test_import_of_the_client_takes_little_longer_than_kombu() -> None:
    program = (
        "import time, resource\n"
        "import kombu.connection, kombu.entity, amqp\n"
        "before = time.process_time()\n"
        "import bridge.client\n"
        "print(time.process_time() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=30)

    # 0.05 s in a measurement; the limit detects an added top-level import, which takes several times that.
    assert float(done.stdout) < 0.5


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (Command(to=[], message="a"), "to is an empty array"),
        (Command(to=[TO, TO], message="a"), "to[1] is the same number as to[0]"),
        (Command(to=TO, message="\ud83d"), "half a surrogate pair"),
        (Command(to=TO, message="a", id=""), "id is not a string of 1 to 128"),
        (Command(to=TO, message="a", sender="me"), "sender is not one of the accepted forms"),
        (Command(to=TO, message="a", send_at="tomorrow"), "send_at is not an RFC 3339 time"),
        (Command(to=TO, message="a", send_at=datetime(2036, 1, 1, tzinfo=UTC)), "more than 30 days ahead"),
        (Command(to=TO, message="a", traceparent="00-1-2-3"), "traceparent is not a W3C trace context"),
        (Command(to=TO, message="a" * 300_000), "larger than"),
    ],
)
def test_invalid_command_is_refused_before_publishing(command: Command, reason: str) -> None:
    with pytest.raises(InvalidCommand) as invalid:
        make_ready(command, rules=CommandRules(), now=NOW)

    assert reason in str(invalid.value)
    assert TO not in str(invalid.value)


def test_worker_reads_the_published_command() -> None:
    zone = timezone(timedelta(hours=-4))
    ready = make_ready(
        Command(
            to=(TO, "6131234568"),
            message="Grüße 👋",
            send_at=datetime(2026, 9, 21, 20, tzinfo=zone),
            expires_at="2026-10-01T00:00:00Z",
            metadata={"order": "17"},
        ),
        rules=CommandRules(default_region="CA"),
        now=NOW,
    )
    read = parse_command(ready.body, None, rules=CommandRules(default_region="CA"), now=NOW)

    assert isinstance(read, SendSms)
    assert (read.id, len(read.destinations), ready.destinations) == (ready.id, 2, 2)
    assert (read.message, read.metadata) == ("Grüße 👋", {"order": "17"})
    assert read.send_at == datetime(2026, 9, 21, 20, tzinfo=zone).timestamp()


def test_no_repr_shows_a_text_or_a_number() -> None:
    command = Command(to=TO, message="canary", sender="+16139998877", metadata={"a": "canary"}, id="c1")
    ready = make_ready(command, rules=CommandRules(), now=NOW)
    shown = [repr(one) for one in (command, ready, *made(camel_case=False).values())]

    assert not [text for text in shown if "canary" in text or "613" in text or "code is" in text]
    assert "c1" in shown[0]


def made(*, camel_case: bool) -> dict[str, Event]:
    """Return an event of each type, as the bridge makes it and the client reads it."""
    published = examples(NAMES, camel_case=camel_case)
    return {type_: event_from(published[type_]) for type_ in TYPES}


@pytest.mark.parametrize("camel_case", [False, True])
def test_every_event_of_the_contract_is_read_in_each_key_style(camel_case: bool) -> None:
    events = made(camel_case=camel_case)
    outcome, invalid, deferred = (
        events[f"sms.outbound.{kind}"] for kind in ("rejected", "invalid", "deferred")
    )
    receipt, received = events["sms.outbound.delivered"], events["sms.inbound.received"]

    assert {type_ for type_, event in events.items() if isinstance(event, Outcome)} == TERMINAL
    assert isinstance(outcome, Outcome)
    assert isinstance(invalid, Outcome)
    assert isinstance(deferred, Deferred)
    assert isinstance(receipt, Receipt)
    assert isinstance(received, Message)
    assert (outcome.command_id, outcome.index, outcome.destination_address) == ("order-17", 0, TO)
    assert outcome.error is not None
    assert (outcome.error.exception_id, outcome.error.http_status) == ("POL0001", 403)
    assert outcome.metadata == {"order": "17"}
    assert (outcome.status, outcome.is_sent, events["sms.outbound.sent"].is_sent) == ("rejected", False, True)  # type: ignore[attr-defined]
    assert (invalid.command_id, invalid.index, invalid.destination_address) == ("order-18", None, None)
    assert deferred.retry_at.endswith("Z")
    assert (receipt.is_delivered, receipt.message_id) == (True, "SMf7e4a6b2")
    assert (received.sender_address, received.message, received.recovered) == (TO, "STOP", False)
    assert {event.time.tzinfo for event in events.values()} == {UTC}
    assert made(camel_case=False) == events


ERRORS: dict[str, object] = {
    "rejected": {
        "name": "PolicyException",
        "exception_id": "POL1009",
        "message": "canary",
        "http_status": 403,
    },
    "invalid": {"name": "invalid", "exception_id": None, "message": "canary", "http_status": None},
}


def result(*statuses: str, destinations: int | None = None) -> Result:
    """Return the outcomes of one command; an `invalid` one speaks for all destinations."""
    outcomes = []
    for index, status in enumerate(statuses):
        data = {
            "command_id": "order-17",
            "index": None if status == "invalid" else index,
            "destination_address": TO,
            "message": "canary",
            "message_id": f"m{index}",
            "error": ERRORS.get(status),
        }
        type_ = f"sms.outbound.{status}"
        event = {"id": "e1", "type": type_, "time": "2027-01-01T00:00:00Z", "source": "/", "data": data}
        outcomes.append(event_from(event))
    return Result(Sent("order-17", destinations or len(statuses)), tuple(outcomes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "status", "shown"),
    [
        (result("sent"), "sent", "outcomes=[sent])"),
        (result("rejected"), "rejected", "outcomes=[rejected (PolicyException, POL1009, HTTP 403)])"),
        (result("failed", "failed"), "failed", "outcomes=[failed, failed])"),
        (
            result("sent", "rejected"),
            "mixed",
            "outcomes=[sent, rejected (PolicyException, POL1009, HTTP 403)])",
        ),
        (result("invalid", destinations=3), "invalid", "outcomes=[invalid (invalid)])"),
        (result("sent", destinations=2), "pending", "outcomes=[sent])"),
        (result(destinations=1), "pending", "outcomes=[])"),
    ],
)
def test_result_shows_its_status_and_neither_text_nor_number(given: Result, status: str, shown: str) -> None:
    assert given.status == status
    assert given.is_sent == (status == "sent")
    assert repr(given) == f"Result(id='order-17', status={status!r}, {shown}"


def test_result_that_is_not_sent_raises_its_error_and_a_sent_one_returns_itself() -> None:
    sent, rejected = result("sent", "sent"), result("rejected")
    many = result("sent", *["failed"] * 9)
    with pytest.raises(OutcomeError) as one:
        rejected.raise_for_status()
    with pytest.raises(OutcomeError) as several:
        many.raise_for_status()
    with pytest.raises(NoOutcomeYet) as early:
        result("sent", destinations=2).raise_for_status()

    assert sent.raise_for_status() is sent
    assert isinstance(one.value, ClientError)
    assert str(one.value) == "command order-17: rejected (PolicyException, POL1009, HTTP 403)"
    assert (one.value.status, one.value.result) == ("rejected", rejected)
    assert (
        str(several.value) == "command order-17: 9 of 10 destinations not sent: failed, failed, failed, ..."
    )
    assert str(early.value) == "command order-17: 1 of 2 outcomes came in time"


def test_outcome_shows_its_status_and_neither_text_nor_number() -> None:
    (outcome,) = result("rejected").outcomes

    assert repr(outcome) == (
        "Outcome(rejected (PolicyException, POL1009, HTTP 403), command_id='order-17', index=0, "
        "message_id='m0', id='e1')"
    )


def test_unknown_event_type_is_an_event_with_its_data() -> None:
    event = event_from(
        {
            "id": "1",
            "type": "sms.later",
            "time": "2027-01-01T00:00:00Z",
            "source": "/sms-bridge/sms",
            "data": {"aB": 1},
        }
    )

    assert type(event) is Event
    assert event.data == {"aB": 1}


@pytest.mark.parametrize(
    "change",
    [{"id": None}, {"type": 1}, {"time": "yesterday"}, {"source": None}],
    ids=lambda change: next(iter(change)),
)
def test_object_without_the_keys_of_every_event_is_not_an_event(change: dict[str, object]) -> None:
    whole = {"id": "1", "type": "a", "time": "2027-01-01T00:00:00Z", "source": "/", "data": {}}
    with pytest.raises(NotAnEvent):
        event_from(whole | change)


def test_memory_keeps_only_the_latest_ids() -> None:
    seen = SeenInMemory(3)
    for event_id in ("a", "b", "c", "a", "d"):
        seen.add(event_id)

    assert [seen.has(event_id) for event_id in "abcd"] == [True, False, True, True]
