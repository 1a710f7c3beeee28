"""Whatever lies on the command queue ends in one event and one dead letter, and holds up nobody."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import amqp
import pytest
from amqp import spec

from tests.acceptance.bench import DESTINATION, body_of, running
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.acceptance.bench import Running
    from tests.harness.broker import Broker
    from tests.harness.broker_client import Message

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

#: The longest id in characters, and in bytes: more than any AMQP property holds.
WIDE_ID = "\N{GRINNING FACE}" * 128


@pytest.fixture(scope="module")
def bridge(rabbitmq: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run one worker for all: what one message does to it, the next test sees."""
    with running(rabbitmq, tmp_path_factory.mktemp("bad-input"), RETRY__IN_PROCESS="0") as bench:
        yield bench


class Raw(amqp.Message):  # type: ignore[misc]  # py-amqp has no types
    """A message whose properties are bytes of our own making, right or wrong."""

    def __init__(self, body: bytes, properties: bytes) -> None:
        super().__init__(body)
        self._raw = properties

    def _serialize_properties(self) -> bytes:
        return self._raw


def message_id(raw: bytes) -> bytes:
    """Return properties that are a message id alone (AMQP 0-9-1, 4.2.6.1: the flags, then the values)."""
    return struct.pack(">HB", 1 << 7, len(raw)) + raw


def headers(table: bytes) -> bytes:
    """Return properties that are headers alone."""
    return struct.pack(">HI", 1 << 13, len(table)) + table


def entry(key: bytes, kind: bytes, value: bytes) -> bytes:
    """Return one entry of a table."""
    return struct.pack("B", len(key)) + key + kind + value


def long_string(value: bytes) -> bytes:
    """Return a table's string."""
    return struct.pack(">I", len(value)) + value


def publish_raw(bridge: Running, body: bytes, properties: bytes) -> None:
    """Publish what no well-behaved library would."""
    with bridge.amqp.channel() as channel:
        acked: list[int] = []
        channel.confirm_select()
        channel.events["basic_ack"].add(lambda tag, multiple: acked.append(tag))
        arguments = (0, "sms.commands", "send", True, False)
        channel.send_method(spec.Basic.Publish, "Bssbb", arguments, Raw(body, properties))
        wait_until(lambda: (acked or channel.connection.drain_events(timeout=5), bool(acked))[1])


def invalid_of(bridge: Running, body: bytes) -> tuple[Message, Message]:
    """Wait for the one dead letter with `body` and the one event it names."""
    (letter,) = bridge.letters(body)
    (event,) = bridge.events.wait(lambda m: m.json["id"] == letter.headers["x-bridge-event-id"])
    bridge.settled()

    assert (letter.headers["x-bridge-outcome"], event.json["type"]) == ("invalid", "sms.outbound.invalid")
    assert len(bridge.letters(body)) == 1
    assert len([m for m in bridge.events.look() if m.json["id"] == event.json["id"]]) == 1
    assert body not in (m.body for m in bridge.events.messages)
    return event, letter


def assert_works(bridge: Running, name: str) -> None:
    """Check that a good command still gets through."""
    bridge.send(f"after {name}")

    assert bridge.outcome(f"after {name}")[0] == "sent"


BODIES = {
    "nothing": b"",
    "not JSON": b"canary but not JSON",
    "half": b'{"id": "half", "message": "canary',
    "a string": b'"canary"',
    "an array": b'[{"id": "x"}]',
    "null": b"null",
    "not a number": b'{"id": "nan", "x": NaN}',
    "a key twice": b'{"id": "k1", "id": "k2"}',
    "not UTF-8": b'{"id": "latin", "message": "canary \xe9"}',
    "UTF-16": '{"id": "wide"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"id": "bom"}',
    "NUL bytes": b"\x00" * 64,
    "10,000 levels": b'{"id": "deep", "x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "100,000 levels, open": b"[" * 100_000,
    "5 MB": body_of("fat", message="canary " * 750_000),
    "a number of 10,000 digits": b'{"id": "digits", "x": ' + b"9" * 10_000 + b"}",
    "an id that is a list": body_of("x", id=["canary"]),
    "an id too long": body_of("x", id="i" * 129),
    "an id with a line end": body_of("x", id="a\nb"),
    "an empty id": body_of("x", id=""),
    "no id": json.dumps({"destination_address": DESTINATION, "message": "canary"}).encode(),
    "all wrong types": json.dumps(dict.fromkeys(("type", "message", "send_at", "metadata"), 7)).encode(),
    "destination an object": body_of("object", destination_address={"to": DESTINATION}),
    "destination with NUL": body_of("nul", destination_address=DESTINATION + "\x00"),
    "a lone surrogate as id": b'{"id": "\\ud800"}',
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_command_is_invalid(bridge: Running, name: str) -> None:
    body = BODIES[name]
    own: dict[str, Any] = {
        "content_type": "text/canary",
        "correlation_id": "c",
        "app_id": "shop",
        "timestamp": 7,
    }
    bridge.amqp.publish(body, headers={"x-own": "1"}, **own)
    event, letter = invalid_of(bridge, body)

    assert own == {key: letter.properties[key] for key in own}
    assert letter.headers["x-own"] == "1"
    assert event.json["data"]["error"]["message"]
    assert "canary" not in event.body.decode()
    assert_works(bridge, name)


PROPERTIES = {
    "message id not UTF-8": message_id(b"\xff\xfe\xfa"),
    "header value not UTF-8": headers(entry(b"x-own", b"S", long_string(b"\xff\xfe"))),
    "header key not UTF-8": headers(entry(b"\xff\xfe", b"S", long_string(b"x"))),
    "year 20000": headers(entry(b"x-time", b"T", struct.pack(">Q", 568_971_820_800))),
    "a byte array": headers(entry(b"x-bytes", b"x", long_string(b"\x00\xff"))),
    "a decimal": headers(entry(b"x-decimal", b"D", struct.pack(">Bi", 2, 314))),
    "an unsigned int": headers(entry(b"x-unsigned", b"i", struct.pack(">I", 2**32 - 1))),
    "a float": headers(entry(b"x-float", b"f", struct.pack(">f", 0.5))),
    "nested tables": headers(entry(b"x-nested", b"F", long_string(entry(b"in", b"F", long_string(b""))))),
}


@pytest.mark.parametrize("name", PROPERTIES)
def test_properties_that_hardly_anyone_can_read_stop_nobody(bridge: Running, name: str) -> None:
    invalid = body_of(f"odd {name}", message="")
    valid = body_of(f"good, odd {name}")
    for body in (invalid, valid):
        publish_raw(bridge, body, PROPERTIES[name])
    invalid_of(bridge, invalid)
    bridge.settled()
    assert_works(bridge, name)

    # What can't be read beside a command that says its id itself costs it nothing.
    assert [letter for letter in bridge.dead.look() if letter.body == valid] == []
    assert bridge.sms(f"good, odd {name}") == 1


def test_a_command_is_retried_whatever_its_headers(bridge: Running) -> None:
    names = {f"delayed {name}": properties for name, properties in PROPERTIES.items() if "id" not in name}
    for command_id, properties in names.items():
        fault = {"name": "status", "status": 503, "retry_after": 1, "text": f"canary of {command_id}."}
        bridge.provider.faults(fault)
        publish_raw(bridge, body_of(command_id), properties)
    bridge.settled()
    wait_until(lambda: all(bridge.sms(command_id) for command_id in names))

    assert {bridge.sms(command_id) for command_id in names} == {1}


STRANGE: dict[str, dict[str, Any]] = {
    "user id": {"user_id": "guest"},
    "expiration": {"expiration": "60000"},
    "content encoding": {"content_encoding": "utf-8"},
    "content encoding, unknown": {"content_encoding": "rot13"},
    "priority": {"priority": 255},
    "timestamp": {"timestamp": 2**63},
    "long values": dict.fromkeys(("app_id", "type", "correlation_id", "content_type"), "x" * 255),
    "huge header": {"headers": {"x-huge": "h" * 120_000}},
    "fullest frame": {"headers": {"x-huge": "h" * 130_900}},
    "many headers": {"headers": {f"x-{n}": n for n in range(2000)}},
    "token of the ledger's, forged": {"headers": {"x-bridge-token": 2**63 - 1}},
    "CC": {"headers": {"CC": ["test.copy"]}},
    "x-death": {"headers": {"x-death": [{"queue": "q", "reason": "expired", "count": 1}], "x-first-death-queue": "q"}},
    "all kinds": {
        "headers": {
            "a": None, "b": True, "c": 1.5, "d": [1, "two", None], "e": {"f": {"g": b"\x00"}},
            "h": datetime(2026, 1, 1, tzinfo=UTC), "traceparent": 7, "x-bridge-token": {"no": "token"},
        }
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def strange(bridge: Running) -> dict[str, bytes]:
    """Publish them all at once, so that their retries are waited for only once; return their bodies."""
    bodies = {}
    for name, given in STRANGE.items():
        fields = dict(given)
        table: Mapping[str, object] = fields.pop("headers", {})
        fault = {"name": "status", "status": 503, "retry_after": 1, "text": f"canary of strange {name}."}
        bridge.provider.faults(fault)
        bodies[name] = body_of(f"strange {name}", destination_address="+19995550100")
        bridge.amqp.publish(bodies[name], headers=table, **fields)
    return bodies


@pytest.mark.parametrize("name", STRANGE)
def test_strange_properties_change_nothing(bridge: Running, strange: dict[str, bytes], name: str) -> None:
    """A command that is retried and refused goes through every copy that the bridge makes of one."""
    word, data = bridge.outcome(f"strange {name}")
    (letter,) = bridge.letters(strange[name])

    assert (word, data["attempts"]) == ("rejected", 2)
    dropped = {"headers", "user_id", "expiration"}
    kept = {key: value for key, value in STRANGE[name].items() if key not in dropped}
    assert {key: letter.properties.get(key) for key in kept} == kept
    assert letter.headers["x-bridge-outcome"] == "rejected"


def test_a_widest_id_is_told_like_any_other(bridge: Running) -> None:
    queue = bridge.amqp.declare_queue("wide")
    fault = {"name": "status", "status": 503, "retry_after": 1, "text": "canary of wide."}
    bridge.provider.faults(fault)
    body = body_of(WIDE_ID, message="canary of wide.", destination_address=[DESTINATION, "+19995550100"])
    bridge.amqp.publish(body, reply_to=queue, correlation_id="c")
    outcomes = bridge.outcomes(WIDE_ID, 2)
    replies = bridge.amqp.take(queue, 2)
    (letter,) = bridge.letters(body)
    bridge.settled()

    assert sorted(m.routing_key.rpartition(".")[2] for m in outcomes) == ["rejected", "sent"]
    assert {m.body for m in replies} == {m.body for m in outcomes}
    assert all(m.properties["message_id"] == m.json["id"] for m in outcomes)
    assert all(m.properties["type"] == m.json["type"] for m in outcomes)
    assert {"c"} == {m.properties["correlation_id"] for m in replies}
    assert letter.headers["x-bridge-command-id"] == WIDE_ID
    assert bridge.provider.texts().count("canary of wide.") == 1


def test_a_wide_reply_queue_and_an_invalid_command_are_told(bridge: Running) -> None:
    body = b"canary, no command, with a reply."
    bridge.amqp.publish(body, reply_to="sms.send")
    invalid_of(bridge, body)

    assert bridge.amqp.depth("sms.send") == 0


def test_fifty_good_commands_pass_all_that_is_bad(bridge: Running) -> None:
    good = [f"good {number}" for number in range(50)]
    for command_id, body in zip(good, list(BODIES.values()) * 2, strict=True):
        # The same body again is the same event, with a dead letter of its own.
        bridge.amqp.publish(body[:300_000] if len(body) < 300_000 else b"canary again")
        bridge.send(command_id)
    words = {bridge.outcome(command_id, within=10)[0] for command_id in good}
    bridge.settled()

    assert {"sent"} == words
    assert dict.fromkeys(good, 1) == {command_id: bridge.sms(command_id) for command_id in good}
