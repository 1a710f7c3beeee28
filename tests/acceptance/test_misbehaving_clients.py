"""The webhook among strangers: slow and rude clients, other networks, and odd notifications."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.api_conformance import CLEAN, report
from tests.harness.certificates import make_certificate
from tests.harness.misbehaving_clients import RUDE, SECRET, impatient_clients, request, slow_clients
from tests.harness.raw_http import Client, once
from tests.harness.waiting import wait_until
from tests.harness.webhook import inbound

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import StartIngest
    from tests.conftest import StartBridge
    from tests.harness.broker_client import BrokerClient


pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

UNRECOGNIZED, INBOUND = "sms.notification.unrecognized", "sms.inbound.received"


@pytest.fixture
def ingest_settings() -> dict[str, str]:
    """Return the settings of an ingest."""
    return {"BRIDGE_INGEST__AUTHORIZATION": SECRET}


def notification(number: int) -> bytes:
    return json.dumps(inbound(f"m{number}")).encode()


# -- slow and rude clients -------------------------------------------------------------------------


@pytest.mark.executed
def test_two_hundred_slow_clients_do_not_slow_a_good_one(
    start_ingest: StartIngest, amqp: BrokerClient
) -> None:
    process, webhook = start_ingest()
    statuses, seconds = [], []
    with slow_clients(webhook.port):
        before = process.memory
        for number in range(100):
            began = time.monotonic()
            statuses.append(webhook.post(inbound(f"m{number}")).status)
            seconds.append(time.monotonic() - began)
        after = process.memory

    assert statuses == [204] * 100
    assert sorted(seconds)[98] < 1, sorted(seconds)[-5:]
    assert after - before < 20, (before, after)
    assert len(amqp.take("test.events", 100)) == 100


@pytest.mark.executed
def test_clients_that_do_not_wait_for_their_answers_cost_neither_memory_nor_the_time_of_others(
    start_ingest: StartIngest, amqp: BrokerClient
) -> None:
    process, webhook = start_ingest()
    statuses, seconds = [webhook.post(inbound("m0")).status], []
    before, end = process.memory, time.monotonic() + 5
    with (
        impatient_clients(
            webhook.port, b"GET / HTTP/1.1\r\nHost: bridge\r\n\r\n", request(body=notification(0))
        ),
        impatient_clients(process.admin_port, b"GET /livez HTTP/1.1\r\nHost: bridge\r\n\r\n"),
    ):
        while (began := time.monotonic()) < end:
            statuses.append(webhook.post(inbound(f"m{len(statuses)}")).status)
            seconds.append(time.monotonic() - began)
        after = process.memory

    assert set(statuses) == {204}
    assert max(seconds) < 1, sorted(seconds)[-5:]
    assert after - before < 8, (before, after)
    assert len(amqp.take("test.events", len(statuses))) == len(statuses)


def test_more_connections_than_configured_are_answered_503_and_later_ones_let_in(
    start_ingest: StartIngest,
) -> None:
    _, webhook = start_ingest(BRIDGE_INGEST__MAX_CONNECTIONS="10")
    with contextlib.ExitStack() as crowd:
        for _ in range(10):
            client = crowd.enter_context(Client(webhook.port))
            # The head of a request was read, so this connection makes no room.
            assert client.send(request("Expect: 100-continue", "Content-Length: 2")).status() == 100
        refused = webhook.post(inbound("m1"))

    assert (refused.status, refused.headers.get("Retry-After")) == (503, "5")
    wait_until(lambda: webhook.post(inbound("m1")).status == 204)


def test_what_no_decent_client_sends_is_refused_and_costs_that_client_alone(
    start_ingest: StartIngest, amqp: BrokerClient
) -> None:
    process, webhook = start_ingest()
    statuses = {}
    for name, data, status in RUDE:
        try:
            statuses[name] = once(webhook.port, data)
        except ConnectionError:  # it was cut while it still sent
            statuses[name] = status
        assert webhook.post(inbound(name)).status == 204
    published = [event["data"]["message_id"] for event in amqp.events(len(RUDE))]
    logged = [line for line in process.logs.splitlines() if '"http.invalid"' in line]

    assert statuses == {name: status for name, _, status in RUDE}
    assert published == list(statuses)
    # One a minute of each kind, or strangers could fill the disk.
    assert len(logged) == 1


# -- clients ---------------------------------------------------------------------------------------


def test_a_stranger_to_the_allowed_networks_is_refused_before_anything_and_the_log_says_who(
    start_ingest: StartIngest, amqp: BrokerClient
) -> None:
    process, webhook = start_ingest(
        BRIDGE_INGEST__ALLOW="203.0.113.0/24, 2001:db8::/32",
        BRIDGE_INGEST__TRUSTED_PROXIES="127.0.0.0/8",
    )
    ways = {
        "203.0.113.9": 204,
        "198.51.100.1, 203.0.113.9": 204,
        "2001:db8::9, 127.0.0.2": 204,
        "203.0.113.9, 198.51.100.77": 403,
        "203.0.113.9, rubbish": 403,
        None: 403,
    }
    statuses = {
        way: webhook.post(inbound(f"m{number}"), x_forwarded_for=way, authorization=key).status
        for number, way in enumerate(ways)
        for key in (SECRET, "Bearer hunter2-guess")[:: 1 if ways[way] == 403 else -1]
    }
    refusals = [json.loads(line) for line in process.logs.splitlines() if '"notification.refused"' in line]
    clients = {refusal["status"]: refusal["client"] for refusal in refusals}

    assert statuses == ways
    assert clients == {401: "203.0.113.9", 403: "198.51.100.77"}
    assert len(amqp.take("test.events", 3)) == 3


def test_with_a_certificate_it_speaks_tls_by_itself(
    start_ingest: StartIngest, tmp_path: Path, amqp: BrokerClient
) -> None:
    certificate, key = make_certificate(tmp_path)
    _, webhook = start_ingest(
        BRIDGE_INGEST__TLS_CERTIFICATE=str(certificate), BRIDGE_INGEST__TLS_KEY=str(key)
    )
    tls = ssl.create_default_context(cafile=certificate)

    assert once(webhook.port, request(body=notification(1)), tls=tls) == 204
    assert amqp.events(1)[0]["data"]["message_id"] == "m1"


def test_a_certificate_that_is_not_there_ends_it_at_its_start_with_78_and_the_path(
    bridge_process: StartBridge, vhost_url: str, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.pem"
    env = {
        "BRIDGE_BROKER__URL": vhost_url,
        "BRIDGE_INGEST__PORT": "0",
        "BRIDGE_INGEST__TLS_CERTIFICATE": str(missing),
    }
    process = bridge_process("ingest", env=env, ready=False)

    assert process.wait() == 78
    assert f"ingest.tls_certificate: {missing} can't be read: No such file or directory" in process.logs


# -- odd notifications -----------------------------------------------------------------------------


def timed(message_id: str, date_time: str) -> bytes:
    """Return a notification whose time is written so."""
    return json.dumps(inbound(message_id, dateTime="@")).replace('"@"', date_time).encode()


def nested(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


#: Bodies, what is answered, and of which type the event is.
ODD: list[tuple[bytes, int, str | None]] = [
    (b'{"chatMessageNotification": {"id": "c1", "text": "canary"}}', 204, UNRECOGNIZED),
    (b'{"a": 1, "b": {}}', 204, UNRECOGNIZED),
    *[(body, 400, None) for body in (b"[]", b"[{}]", b"null", b"true", b"1", b'"canary"', b"", b" ")],
    *[(body, 400, None) for body in (b"{}", b'{"a": 1}', b'{"a": [{}]}')],
    (b'{"inboundSMSMessageNotification": null}', 400, None),
    (b'{"inboundSMSMessageNotification": []}', 400, None),
    # Two keys at the top.
    (json.dumps(inbound("two-1") | {"smsEventNotification": {"id": "two-2"}}).encode(), 204, UNRECOGNIZED),
    (json.dumps(inbound("two-3") | {"extra": {"x": 1}}).encode(), 204, INBOUND),
    (json.dumps({"extra": 1} | inbound("two-4")).encode(), 204, INBOUND),
    # What should be inside is missing, or is something else.
    (b'{"inboundSMSMessageNotification": {}}', 204, UNRECOGNIZED),
    (b'{"inboundSMSMessageNotification": {"inboundSMSMessage": null, "id": "in-1"}}', 204, UNRECOGNIZED),
    (b'{"inboundSMSMessageNotification": {"inboundSMSMessage": [], "id": "in-2"}}', 204, UNRECOGNIZED),
    (b'{"inboundSMSMessageNotification": {"inboundSMSMessage": {}, "id": "in-3"}}', 204, INBOUND),
    (b'{"inboundSMSMessageNotification": {"inboundSMSMessage": {}}}', 204, INBOUND),
    (json.dumps(inbound("in-4", messageId=None, message=None, senderAddress=7)).encode(), 204, INBOUND),
    (json.dumps(inbound("in-5", messageId={"a": []})).encode(), 204, INBOUND),
    # Times.
    *[
        (timed(f"time-{number}", written), 204, INBOUND)
        for number, written in enumerate(
            [
                "1525895987", "1525895987123", "0", "-1", "1.5e12", "9" * 100, "-1e300", "null", '"yesterday"',
                "[]", "true",
            ]
        )
    ],
    *[(timed("never", written), 400, None) for written in ("9" * 101, "1e400", "NaN", "-Infinity", "01")],
    # Text.
    (json.dumps(inbound("text-1", message="canary \x00 \u202e \U0001f600")).encode(), 204, INBOUND),
    (rb'{"a": {"text": "\ud800", "\ud800": 1}}', 204, UNRECOGNIZED),
    (json.dumps(inbound("text-2")).encode("utf-16"), 400, None),
    (b"\xef\xbb\xbf" + json.dumps(inbound("text-3")).encode(), 400, None),
    (b'{"a": {"text": "\xff"}}', 400, None),
    (b'{"a": {}, "a": {}}', 400, None),
    # Depth.
    (nested(64), 204, UNRECOGNIZED),
    (nested(65), 400, None),
    (nested(10_000), 400, None),
    (b"[" * 65_536, 400, None),
]  # fmt: skip


def test_odd_notifications_are_events_as_they_came_or_refused_as_documented_and_break_nothing(
    start_ingest: StartIngest, amqp: BrokerClient
) -> None:
    _, webhook = start_ingest()
    answers = [webhook.post(body) for body, _, _ in ODD]
    taken = [(body, kind) for body, status, kind in ODD if status == 204]
    events = amqp.events(len(taken))

    assert [answer.status for answer in answers] == [status for _, status, _ in ODD]
    assert [event["type"] for event in events] == [kind for _, kind in taken]
    for (body, kind), event in zip(taken, events, strict=True):
        # Half a surrogate pair can't be written in UTF-8; the event has the replacement character there.
        said: Any = json.loads(body.replace(rb"\ud800", rb"\ufffd"))
        if kind == UNRECOGNIZED:
            assert event["data"]["raw"] == said
        else:
            inner = said["inboundSMSMessageNotification"]["inboundSMSMessage"]
            assert event["data"]["date_time"] == inner.get("dateTime")
            assert event["data"]["message"] == inner.get("message")
    assert amqp.depth("test.events") == 0


# -- the contract ----------------------------------------------------------------------------------


def test_whatever_schemathesis_asks_is_answered_as_the_contract_says(
    start_ingest: StartIngest, tmp_path: Path
) -> None:
    _, webhook = start_ingest()
    code, said = report(webhook, tmp_path, "--max-examples", "30")

    assert (code, CLEAN in said) == (0, True), said
