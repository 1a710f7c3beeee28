"""Commands: rules of each field, all errors at once, and no body that crashes the parser (SPEC section 3.1)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.command_parser import FIELDS, MAX_BODY, parse_command
from bridge.domain.commands import CommandRules, Malformed, Parsed, SendSms

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
RULES = CommandRules()
STRICT = CommandRules(unknown_fields="reject")
VALID: dict[str, Any] = {"id": "order-17", "destination_address": "+16131234567", "message": "hi"}
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def parse(document: object, *, message_id: object = None, rules: CommandRules = RULES) -> Parsed:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_command(body, message_id, rules=rules, now=NOW)


def valid(fields: dict[str, Any] | None = None, **more: Any) -> SendSms:
    parsed = parse({**VALID, **(fields or {})}, **more)
    assert isinstance(parsed, SendSms), parsed
    return parsed


def reasons(document: object, **more: Any) -> str:
    parsed = parse(document, **more)
    assert isinstance(parsed, Malformed), parsed
    assert parsed.reasons
    return "; ".join(parsed.reasons)


# --- id --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("in_body", "as_property", "expected"),
    [
        ("a", None, "a"),
        (None, "b", "b"),
        ("a", "b", "a"),
        ("a", b"\xff", "a"),
        ("x" * 128, None, "x" * 128),
        ("é 💬", None, "é 💬"),
        (" ", None, " "),
    ],
)
def test_id_is_that_of_the_body_else_the_message_id(
    in_body: object, as_property: object, expected: str
) -> None:
    assert valid({"id": in_body}, message_id=as_property).id == expected


@pytest.mark.parametrize(
    "bad", ["", "x" * 129, "a\n", "\x00", "\u200b", "\ud83d", 17, True, [], {}, 0, False]
)
def test_unprintable_id_is_refused_with_any_message_id(bad: object) -> None:
    assert reasons({**VALID, "id": bad}, message_id="fine").startswith("id is not a string of 1 to 128")


@pytest.mark.parametrize("bad", ["x" * 129, "a\tb", b"bytes", 17])
def test_message_id_that_is_no_printable_string_is_refused(bad: object) -> None:
    assert "the AMQP message_id is not" in reasons({**VALID, "id": None}, message_id=bad)


@pytest.mark.parametrize("absent", [None, ""])
def test_command_without_an_id_is_accepted_only_if_configured(absent: object) -> None:
    nameless = {**VALID, "id": None}

    assert reasons(nameless, message_id=absent).startswith("id is missing")
    taken = parse(nameless, message_id=absent, rules=CommandRules(allow_missing_id=True))
    assert isinstance(taken, SendSms)
    assert taken.id is None


def test_invalid_command_keeps_its_id_and_metadata_for_its_sender() -> None:
    parsed = parse({"id": "order-17", "metadata": {"a": "b"}})

    assert isinstance(parsed, Malformed)
    assert (parsed.id, parsed.metadata) == ("order-17", {"a": "b"})


def test_unreadable_body_has_the_message_id() -> None:
    assert parse(b"{", message_id="order-17").id == "order-17"
    assert parse(b"{", message_id="a\nb").id is None


# --- spellings -------------------------------------------------------------------------------------------------------


SAMPLES: dict[str, Any] = {
    "id": "order-17",
    "type": "sms",
    "destination_address": ["+16131234567"],
    "sender_address": "+16139998877",
    "message": "hi",
    "send_at": "2027-01-15T09:00:00Z",
    "expires_at": "2027-01-15T10:00:00Z",
    "metadata": {"user_id": "7"},
}


def test_camel_case_is_the_same_command() -> None:
    assert parse({FIELDS[name]: value for name, value in SAMPLES.items()}) == parse(SAMPLES)


@pytest.mark.parametrize("name", [name for name, alias in FIELDS.items() if name != alias])
def test_both_key_styles_may_agree_but_not_differ(name: str) -> None:
    other = {**SAMPLES, FIELDS[name]: SAMPLES[name]}

    assert parse(other) == parse(SAMPLES)
    assert f"{name} and {FIELDS[name]} are both given and differ" in reasons({**other, FIELDS[name]: "x"})
    assert parse({**SAMPLES, FIELDS[name]: None}) == parse(SAMPLES)
    assert parse({**other, name: None}) == parse(SAMPLES)


@pytest.mark.parametrize("name", ["type", "sender_address", "send_at", "expires_at", "metadata"])
def test_null_counts_as_absent(name: str) -> None:
    assert parse({**VALID, name: None}) == parse(VALID)


def test_unknown_fields_are_ignored() -> None:
    taken = parse({**VALID, "x": [1, {"y": None}], "SENDER_ADDRESS": 5})

    assert isinstance(taken, SendSms)
    assert replace(taken, unknown_fields=()) == parse(VALID)


# --- destinations, sender --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destinations", "reason"),
    [
        (None, "destination_address is missing"),
        ([], "destination_address is an empty array"),
        (17, "destination_address is not a string or an array of strings"),
        ({}, "destination_address is not a string or an array of strings"),
        (True, "destination_address is not a string or an array of strings"),
        ("", "destination_address is not one of"),
        ("default", "destination_address is not one of"),
        ("bob", "destination_address is not one of"),
        (["+16131234567", None], "destination_address[1] is not a string"),
        (["+16131234567", ["+16131234568"]], "destination_address[1] is not a string"),
        (["+16131234567", "bob"], "destination_address[1] is not one of"),
        (["+16131234567"] * 2, "destination_address[1] is the same number as destination_address[0]"),
        (
            ["+16131234567", "+16131234568", "tel:+1(613)123-4567"],
            "destination_address[2] is the same number",
        ),
        (["+16131234567", "sip:+16131234567@example.org"], "destination_address[1] is the same number"),
    ],
)
def test_command_with_a_wrong_destination_is_invalid_as_a_whole(destinations: object, reason: str) -> None:
    assert reason in reasons({**VALID, "destination_address": destinations})


def test_national_number_is_the_same_as_its_international_form_where_the_region_is_known() -> None:
    twice = {**VALID, "destination_address": ["+16131234567", "6131234567"]}

    assert "the same number" in reasons(twice, rules=CommandRules(default_region="CA"))


def test_destinations_are_accepted_up_to_the_maximum() -> None:
    numbers = [f"+1613123{number:04}" for number in range(101)]

    assert len(valid({"destination_address": numbers[:100]}).destinations) == 100
    assert "more than 100 destinations" in reasons({**VALID, "destination_address": numbers})
    assert "more than 2" in reasons(
        {**VALID, "destination_address": numbers[:3]}, rules=CommandRules(max_destinations=2)
    )


def test_destinations_keep_their_order() -> None:
    command = valid({"destination_address": ["+16131234568", "+16131234567"]})

    assert [address.wire for address in command.destinations] == ["+16131234568", "+16131234567"]


@pytest.mark.parametrize(
    ("given_sender", "configured", "wire"),
    [
        (None, None, "default"),
        ("default", None, "default"),
        (None, "+16139998877", "+16139998877"),
        ("default", "+16139998877", "default"),
        ("+16139998878", "+16139998877", "+16139998878"),
    ],
)
def test_sender_is_that_of_the_command_else_the_configured_one(
    given_sender: str | None, configured: str | None, wire: str
) -> None:
    rules = CommandRules(default_sender=configured)

    assert valid({"sender_address": given_sender}, rules=rules).sender.wire == wire


@pytest.mark.parametrize("bad", ["", "bob", "Default", 17, ["default"], {}])
def test_sender_is_an_address_or_default(bad: object) -> None:
    assert "sender_address is not" in reasons({**VALID, "sender_address": bad})


# --- message, type, metadata -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [" ", "\x00", "👩‍👩‍👧", "a" * 5000, "\u202e", '"\\'])
def test_message_is_any_text_and_stays_unchanged(text: str) -> None:
    assert valid({"message": text}).message == text


def test_emoji_written_as_two_escapes_is_one_character() -> None:
    body = b'{"id": "a", "destination_address": "+16131234567", "message": "\\ud83d\\udcac"}'
    parsed = parse(body)

    assert isinstance(parsed, SendSms)
    assert parsed.message == "💬"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("message", None, "message is missing"),
        ("message", "", "message is empty"),
        ("message", 17, "message is not a string"),
        ("message", ["hi"], "message is not a string"),
        ("message", "\ud83d", "half a surrogate pair"),
        ("type", "", "type is not"),
        ("type", "SMS", "type is not"),
        ("type", "mms", "type is not"),
        ("type", ["sms"], "type is not"),
        ("type", False, "type is not"),
        ("metadata", "x", "metadata is not an object of strings"),
        ("metadata", [], "metadata is not an object of strings"),
        ("metadata", {"a": 1}, "metadata is not an object of strings"),
        ("metadata", {"a": None}, "metadata is not an object of strings"),
        ("metadata", {"a": {"b": "c"}}, "metadata is not an object of strings"),
        ("metadata", {"a": "\udfff"}, "metadata is not an object of strings"),
        ("metadata", {"\udfff": "a"}, "metadata is not an object of strings"),
    ],
)
def test_wrong_value_is_named_by_its_field(field: str, value: object, reason: str) -> None:
    assert reason in reasons({**VALID, field: value})


def test_metadata_stays_unchanged() -> None:
    assert valid({"metadata": {"user_id": "7", "": ""}}).metadata == {"user_id": "7", "": ""}


# --- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15t08:00:00z", NOW),
        ("2027-01-15 08:00:00Z", NOW),
        ("2027-01-15T09:30:00+01:30", NOW),
        ("2027-01-15T08:00:00-00:00", NOW),
        ("2027-01-15T08:00:00.5Z", NOW + 0.5),
        ("2027-01-15T08:00:00.123456789Z", NOW + 0.123456),
        ("2027-01-15T07:59:60Z", NOW - 1),
        ("2020-01-01T00:00:00Z", 1_577_836_800.0),
        ("2027-02-14T08:00:00Z", NOW + 30 * 86400),
    ],
)
def test_times_are_rfc_3339(text: str, time: float) -> None:
    assert valid({"send_at": text}).send_at == pytest.approx(time, abs=1e-6)


@pytest.mark.parametrize("field", ["send_at", "expires_at"])
@pytest.mark.parametrize(
    "bad",
    [
        "",
        "2027-01-15",
        "2027-01-15T08:00:00",
        "2027-01-15T08:00Z",
        "2027-02-30T08:00:00Z",
        "2027-01-15T25:00:00Z",
        "2027-01-15T08:00:00+99:99",
        "2027-01-15T08:00:00Z\n",
        " 2027-01-15T08:00:00Z",
        "٢٠٢٧-01-15T08:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        1_800_000_000,
        1.5,
        True,
        {},
    ],
)
def test_value_that_is_not_a_time_is_refused(field: str, bad: object) -> None:
    assert f"{field} is not an RFC 3339 time" in reasons({**VALID, field: bad})


@pytest.mark.parametrize(
    ("send_at", "expires_at", "reason"),
    [
        ("2027-02-14T08:00:00.001Z", None, "send_at is more than 30 days ahead"),
        ("2027-01-15T09:00:00Z", "2027-01-15T09:00:00Z", "expires_at is not after send_at"),
        ("2027-01-15T09:00:00Z", "2027-01-15T09:59:00+01:00", "expires_at is not after send_at"),
    ],
)
def test_times_are_ordered_and_within_thirty_days(send_at: str, expires_at: str | None, reason: str) -> None:
    assert reason in reasons({**VALID, "send_at": send_at, "expires_at": expires_at})


def test_expired_command_is_a_valid_command() -> None:
    assert valid({"expires_at": "2020-01-01T00:00:00Z"}).expires_at == 1_577_836_800.0


# --- the whole -------------------------------------------------------------------------------------------------------


def test_all_errors_are_named_at_once() -> None:
    found = reasons(
        {
            "id": 1,
            "type": "mms",
            "destination_address": [1, "bob"],
            "sender_address": 2,
            "send_at": 3,
            "expires_at": 4,
            "metadata": 5,
        }
    )

    for field in FIELDS:
        assert field in found
    assert "destination_address[0]" in found
    assert "destination_address[1]" in found


def padded(size: int) -> bytes:
    body = json.dumps({**VALID, "x": ""}).encode()
    return body.replace(b'"x": ""', b'"x": "' + b"a" * (size - len(body)) + b'"')


def test_size_is_bounded_to_the_byte() -> None:
    assert isinstance(parse(padded(MAX_BODY)), SendSms)
    assert "larger than 262144 bytes" in reasons(padded(MAX_BODY + 1))
    assert "larger than 262144 bytes" in reasons(padded(5_000_000))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"17",
        b"\x00",
        b"[" * 10_000 + b"]" * 10_000,
        b'{"x":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"x": NaN}',
        b'{"x": Infinity}',
        b'{"x": 1e999}',
        b'{"x": ' + b"9" * 100_000 + b"}",
        b"\xef\xbb\xbf" + json.dumps(VALID).encode(),
        json.dumps(VALID).encode("utf-16"),
        json.dumps(VALID).encode("utf-16-le"),
        json.dumps(VALID).encode()[:-1],
        json.dumps(VALID).encode() + b"\x00",
        b'{"id": "a", "id": "b", "destination_address": "+16131234567", "message": "hi"}',
        json.dumps({**VALID, "message": "XX"}).encode().replace(b"XX", b"\xff"),
        json.dumps({**VALID, "message": "XX"}).encode().replace(b"XX", b"\xed\xa0\xbd"),
        json.dumps({**VALID, "message": "XX"}).encode().replace(b"XX", b"\x00"),
    ],
)
def test_body_that_is_not_a_plain_json_object_is_invalid(body: bytes) -> None:
    assert reasons(body, message_id="order-17").startswith("the body ")


@given(st.binary())
def test_no_bytes_crash_the_parser(body: bytes) -> None:
    parse(body)


@given(
    document=st.dictionaries(st.sampled_from([*FIELDS, *FIELDS.values()]), _JSON),
    message_id=_JSON | st.binary(),
)
def test_no_json_crashes_the_parser(document: dict[str, Any], message_id: object) -> None:
    parse(document, message_id=message_id)
    parse({**VALID, **document}, message_id=message_id)


CANARY = "c4n4ry"
_PLANTED = st.recursive(
    st.just(CANARY) | st.just(f"+1613{CANARY}") | st.just(f"2027-01-15T{CANARY}Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just(CANARY), inner, max_size=1),
    max_leaves=5,
)


@given(fields=st.dictionaries(st.sampled_from([*FIELDS, *FIELDS.values()]), _PLANTED))
def test_reason_never_repeats_a_value(fields: dict[str, Any]) -> None:
    parsed = parse({**fields, "send_at": CANARY}, message_id=CANARY + "\n")

    assert isinstance(parsed, Malformed)
    assert CANARY not in "".join(parsed.reasons)


def test_neither_number_nor_text_is_in_a_repr() -> None:
    shown = repr(valid({"message": CANARY, "metadata": {"a": CANARY}}))

    assert CANARY not in shown
    assert "6131234567" not in shown


# --- content ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"type": "sms"}, True),
        ({"destination_address": ["+16131234567"]}, True),
        ({"metadata": {"a": "b"}}, True),
        ({"expires_at": "2027-01-15T09:00:00Z"}, True),
        ({"id": "other"}, True),
        ({"message": "hi "}, False),
        ({"sender_address": "+16139998877"}, False),
        ({"destination_address": "tel:+16131234567"}, False),
        ({"destination_address": ["+16131234567", "+16131234568"]}, False),
    ],
)
def test_content_is_type_destinations_sender_and_message_as_written(
    change: dict[str, Any], same: bool
) -> None:
    assert (valid(change).content_hash == valid().content_hash) is same


def test_content_does_not_depend_on_the_spelling_of_keys_or_the_configuration() -> None:
    camel = parse({FIELDS[name]: value for name, value in VALID.items()})

    assert isinstance(camel, SendSms)
    assert camel.content_hash == valid().content_hash
    assert valid(rules=CommandRules(default_sender="+16139998877")).content_hash == valid().content_hash


@pytest.mark.parametrize("name", ["expiresat", "Message", "destinationaddress", "x", "metadata ", "\u00e9"])
def test_unknown_field_is_named_or_refused(name: str) -> None:
    taken = parse({**VALID, name: None})
    refused = parse({**VALID, name: None}, rules=STRICT)

    assert isinstance(taken, SendSms)
    assert isinstance(refused, Malformed)
    assert taken.unknown_fields == refused.unknown_fields == (name.strip(),)
    assert len(refused.reasons) == 1
    assert refused.reasons[0].startswith(f'"{name.strip()}" is not a field of a command')


def test_mistyped_field_is_answered_with_a_suggestion() -> None:
    refused = parse({**VALID, "expiresat": None}, rules=STRICT)

    assert isinstance(refused, Malformed)
    assert refused.reasons[0].startswith('"expiresat" is not a field of a command: did you mean expires')


def test_both_spellings_of_every_field_are_known() -> None:
    known = parse({**dict.fromkeys([*FIELDS, *FIELDS.values()]), **VALID}, rules=STRICT)

    assert isinstance(known, SendSms)
    assert known.unknown_fields == ()


def test_names_of_unknown_fields_are_bounded_printable_and_without_numbers() -> None:
    malformed = {f"\x1b[31m\n{number}+16131234567{'x' * 900}": 1 for number in range(50)}
    taken = parse({**VALID, **malformed})

    assert len(taken.unknown_fields) == 10
    assert all(len(name) <= 50 and name.isprintable() for name in taken.unknown_fields)
    assert "6131234567" not in "".join(taken.unknown_fields)
