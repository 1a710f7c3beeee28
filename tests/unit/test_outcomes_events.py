"""Events: deterministic ids, all keys present, the same bytes for the same facts."""

from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.answers import ProviderError
from bridge.domain.commands import Malformed, SendSms
from bridge.domain.events import DEAD, NAMESPACE, TERMINAL, Event, event_id, make_event, rfc3339
from bridge.domain.outcomes import (
    EventFormat,
    Outcome,
    SubmissionResult,
    deferred_event,
    invalid_event,
    outcome_event,
)
from tests.harness.commands import read_command
from tests.harness.contract_check import event_of
from tests.harness.text_strategies import ANY_TEXT

NOW = 1_800_000_000.25
STYLE = EventFormat(source="/sms-bridge/sms")
CAMEL = EventFormat(source="/sms-bridge/sms", camel_case=True)
KEYS = [
    "command_id",
    "index",
    "destination_address",
    "sender_address",
    "message",
    "delivery_status",
    "message_id",
    "attempts",
    "segments",
    "reconciled",
    "metadata",
    "error",
]
CAMEL_KEYS = [
    "commandId",
    "index",
    "destinationAddress",
    "senderAddress",
    "message",
    "deliveryStatus",
    "messageId",
    "attempts",
    "segments",
    "reconciled",
    "metadata",
    "error",
]


def command(**fields: object) -> SendSms:
    return read_command(fields)


def stored_event(event: Event) -> dict[str, object]:
    envelope: dict[str, object] = event_of(event.body)
    return envelope


def sent(index: int = 0, *, replay: int = 0, style: EventFormat = STYLE, now: float = NOW) -> Event:
    return outcome_event(
        Outcome.SENT, command(), index, SubmissionResult(replay=replay), style=style, now=now
    )


def test_id_of_an_outcome_can_be_computed_from_what_the_contract_names() -> None:
    expected = str(uuid.uuid5(NAMESPACE, json.dumps(["outcome", "order-17", "1", "2"])))

    assert sent(1, replay=2).id == expected


def test_id_of_an_outcome_does_not_depend_on_which_outcome_or_when() -> None:
    other = outcome_event(
        Outcome.FAILED, command(message="other"), 0, SubmissionResult(attempts=9), style=CAMEL, now=NOW + 60
    )

    assert other.id == sent().id


def test_ids_differ_by_command_index_replay_and_attempt() -> None:
    def deferred(attempts: int) -> Event:
        return deferred_event(
            command(), 0, SubmissionResult(attempts=attempts), retry_at=NOW, style=STYLE, now=NOW
        )

    events = [sent(), sent(1), sent(replay=1), deferred(1), deferred(2)]

    assert len({event.id for event in events}) == len(events)
    assert deferred(1).id == deferred(1).id


def test_id_of_an_invalid_command_comes_from_its_id_and_body() -> None:
    def invalid(id: str | None, body_hash: str) -> str:  # noqa: A002 - the field's name
        return invalid_event(Malformed(id=id, reasons=("x",)), body_hash, style=STYLE, now=NOW).id

    assert invalid("a", "00") == invalid("a", "00")
    assert len({invalid("a", "00"), invalid("b", "00"), invalid("a", "01"), invalid(None, "00")}) == 4


@given(st.lists(st.text() | st.integers()))
def test_id_is_a_uuid_that_consumers_can_compute(parts: list[object]) -> None:
    name = json.dumps([str(part) for part in parts])

    assert event_id(*parts) == str(uuid.uuid5(NAMESPACE, name))


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_two_lists_of_parts_have_one_id_only_if_they_are_the_same(one: list[str], other: list[str]) -> None:
    assert (event_id(*one) == event_id(*other)) == (one == other)


def test_envelope_is_a_cloud_event() -> None:
    envelope = stored_event(sent())

    assert envelope["specversion"] == "1.0"
    assert envelope["type"] == "sms.outbound.sent"
    assert envelope["source"] == "/sms-bridge/sms"
    assert envelope["subject"] == "order-17"
    assert envelope["time"] == "2027-01-15T08:00:00.250Z"
    assert envelope["datacontenttype"] == "application/json"
    assert "traceparent" not in envelope


@pytest.mark.parametrize(("style", "keys"), [(STYLE, KEYS), (CAMEL, CAMEL_KEYS)])
def test_every_key_of_an_outcome_is_always_there(style: EventFormat, keys: list[str]) -> None:
    invalid = invalid_event(Malformed(id=None, reasons=("bad",)), "00", style=style, now=NOW)
    failed = SubmissionResult(attempts=1, error=ProviderError(name="network"))
    deferred = deferred_event(command(), 0, failed, retry_at=NOW, style=style, now=NOW)

    assert [*stored_event(sent(style=style))["data"]] == keys  # type: ignore[misc]
    assert [*stored_event(invalid)["data"]] == keys  # type: ignore[misc]
    assert [*stored_event(deferred)["data"]] == [*keys, "retry_at" if style is STYLE else "retryAt"]  # type: ignore[misc]


def test_invalid_command_has_no_index_no_attempt_and_the_reasons() -> None:
    malformed = Malformed(id="order-17", reasons=("id is bad", "message is missing"), metadata={"a": "b"})
    data = stored_event(invalid_event(malformed, "00", style=STYLE, now=NOW, name="conflict"))["data"]

    assert data == {
        **dict.fromkeys(KEYS),
        "command_id": "order-17",
        "attempts": 0,
        "reconciled": False,
        "metadata": {"a": "b"},
        "error": {
            "name": "conflict",
            "exception_id": None,
            "message": "id is bad; message is missing",
            "http_status": None,
        },
    }


def test_camel_case_spells_the_errors_keys_too_and_leaves_the_metadata_alone() -> None:
    error = ProviderError(name="policyException", exception_id="POL0001")
    event = outcome_event(
        Outcome.REJECTED,
        command(metadata={"user_id": "7"}),
        0,
        SubmissionResult(error=error),
        style=CAMEL,
        now=NOW,
    )
    data = stored_event(event)["data"]

    assert isinstance(data, dict)
    assert data["metadata"] == {"user_id": "7"}
    assert data["error"]["exceptionId"] == "POL0001"
    assert "httpStatus" in data["error"]


def test_actual_sender_is_published_also_for_default() -> None:
    result = SubmissionResult(sender_address="+16139998877")
    real = outcome_event(Outcome.SENT, command(), 0, result, style=STYLE, now=NOW)

    assert stored_event(real)["data"]["sender_address"] == "+16139998877"  # type: ignore[index]
    assert stored_event(sent())["data"]["sender_address"] == "default"  # type: ignore[index]


@given(
    message=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    metadata=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"]))
    ),
)
def test_same_facts_give_the_same_bytes_and_texts_stay_unchanged(
    message: str, metadata: dict[str, str]
) -> None:
    def event() -> Event:
        return outcome_event(
            Outcome.SENT,
            command(message=message, metadata=metadata),
            0,
            SubmissionResult(),
            style=STYLE,
            now=NOW,
        )

    data = stored_event(event())["data"]

    assert event().body == event().body
    assert isinstance(data, dict)
    assert (data["message"], data["metadata"]) == (message, metadata)


@given(st.recursive(st.none() | ANY_TEXT, lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner)))
def test_event_holds_any_text_in_utf_8(value: object) -> None:
    event = make_event(id="i", type="t", source="s", time=NOW, data={"raw": value})
    data = json.loads(event.body)["data"]

    assert event.body.decode("utf-8")
    assert json.dumps(data, ensure_ascii=False).encode()
    assert event.is_repaired == (data != {"raw": value})


def test_every_outcome_is_terminal_and_dead_letters_are_outcomes() -> None:
    assert {outcome.event_type for outcome in Outcome} | {"sms.outbound.invalid"} == TERMINAL
    assert DEAD < TERMINAL


def test_times_are_in_utc_to_the_millisecond() -> None:
    assert rfc3339(0.0) == "1970-01-01T00:00:00.000Z"
