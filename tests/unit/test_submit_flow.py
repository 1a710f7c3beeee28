"""Commands received by HTTP: validated like by a worker, and published unchanged."""

from __future__ import annotations

import json

import pytest

from bridge.domain.command_parser import parse_command
from bridge.domain.commands import CommandRules
from bridge.domain.errors import CommandInvalid, UnreadableCommand
from bridge.domain.messages import SubmittedCommand
from bridge.domain.submitted_commands import ValidatedCommand, make_ready

NOW = 1_800_000_000.5
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def body(**fields: object) -> bytes:
    return json.dumps({"destination_address": "+16135550123", "message": "hi", **fields}).encode()


def ready(
    content: bytes, key: str | None = None, traceparent: str | None = None, *, allow_missing_id: bool = False
) -> ValidatedCommand:
    return make_ready(
        SubmittedCommand(body=content, key=key, traceparent=traceparent),
        rules=CommandRules(allow_missing_id=allow_missing_id),
        exchange="sms.commands",
        now=NOW,
        new_id=lambda: "made up",
    )


def test_command_is_published_byte_for_byte_and_found_by_the_same_id_by_a_worker() -> None:
    content = body(id="a", destination_address=["+16135550123", "+16135550124"])
    validated = ready(content, traceparent=TRACEPARENT)
    message = validated.message
    read = parse_command(message.body, message.properties["message_id"], rules=CommandRules(), now=NOW)

    assert (validated.id, validated.has_own_id, validated.destinations) == ("a", True, 2)
    assert (message.exchange, message.routing_key, message.body) == ("sms.commands", "send", content)
    assert message.properties == {"message_id": "a", "timestamp": int(NOW)}
    assert message.headers == {"traceparent": TRACEPARENT}
    assert (read.id, getattr(read, "content_hash", None)) == ("a", validated.content_hash)


@pytest.mark.parametrize(
    ("id_", "key", "found"),
    [("a", None, "a"), (None, "a", "a"), ("a", "a", "a"), ("é\U0001f600", None, "é\U0001f600")],
)
def test_id_is_in_the_body_or_in_a_header(id_: str | None, key: str | None, found: str) -> None:
    validated = ready(body(id=id_), key)

    assert (validated.id, validated.message.properties["message_id"]) == (found, found)


@pytest.mark.parametrize(
    ("content", "key", "reason"),
    [
        (body(id="a"), "b", "both given and differ"),
        (body(id=5), "5", "both given and differ"),
        (body(), None, "id is missing"),
        (b"", "a", "the body is not JSON"),
        (b"[]", "a", "the body is not a JSON object"),
        (b'{"message": NaN}', "a", "the body NaN is not JSON"),
        (b" " * (256 * 1024 + 1), "a", "the body is larger than"),
    ],
)
def test_request_without_an_id_is_not_read(content: bytes, key: str | None, reason: str) -> None:
    with pytest.raises(UnreadableCommand, match=reason):
        ready(content, key)


@pytest.mark.parametrize(("id_", "key"), [(".", None), ("..", None), (None, "."), (None, "..")])
def test_id_that_clients_fold_out_of_a_path_is_not_valid_over_http(id_: str | None, key: str | None) -> None:
    with pytest.raises(CommandInvalid) as alone:
        ready(body(id=id_), key)
    with pytest.raises(CommandInvalid) as beside:
        ready(body(id=id_, message=""), key)

    assert [reason.partition(" ")[0] for reason in alone.value.reasons] == ["id"]
    assert [reason.partition(" ")[0] for reason in beside.value.reasons] == ["message", "id"]
    assert parse_command(body(id="."), None, rules=CommandRules(), now=NOW).id == "."


def test_invalid_command_is_answered_with_every_reason_and_no_value() -> None:
    with pytest.raises(CommandInvalid) as refused:
        ready(body(destination_address=["+16135550123", "canary"], message="", type="mms"), "a")

    assert [reason.partition(" ")[0] for reason in refused.value.reasons] == [
        "type",
        "destination_address[1]",
        "message",
    ]
    assert "canary" not in str(refused.value)


def test_invalid_id_is_an_invalid_field() -> None:
    with pytest.raises(CommandInvalid, match=r"^id is not a string"):
        ready(body(id="x" * 129))


def test_id_is_generated_and_returned_when_none_is_required() -> None:
    validated = ready(body(), allow_missing_id=True)

    assert (validated.id, validated.has_own_id) == ("made up", False)
    assert validated.message.properties["message_id"] == "made up"


@pytest.mark.parametrize("traceparent", ["", "00-1", TRACEPARENT + "\n", "é"])
def test_invalid_trace_context_is_left_out(traceparent: str) -> None:
    assert ready(body(id="a"), traceparent=traceparent).message.headers == {}


def test_repr_shows_neither_number_nor_text() -> None:
    assert "16135550123" not in repr(ready(body(id="a"))) + repr(SubmittedCommand(body=body(id="a")))
