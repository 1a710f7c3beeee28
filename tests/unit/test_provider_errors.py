"""Interpretation of the provider's responses to a send, unusual rows first."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.answers import Accepted, Ambiguous, Answer, Blocked, ProviderError, Refused, Unsent
from bridge.domain.provider_errors import (
    MAX_MESSAGE_LENGTH,
    MAX_RETRY_AFTER,
    classify_send,
    parse_error,
    parse_retry_after,
    parse_send_response,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def _exception(name: str = "serviceException", /, **detail: object) -> bytes:
    return json.dumps({"requestError": {name: detail}}).encode()


@pytest.mark.parametrize(
    ("body", "name", "exception_id", "message"),
    [
        (b"", "http", None, "Bad Request"),
        (b"<html><h1>It works</h1></html>", "http", None, "Bad Request"),
        (b'{"requestError": {"serviceExc', "http", None, "Bad Request"),
        (b"[]", "http", None, "Bad Request"),
        (b'"text"', "http", None, "Bad Request"),
        (b"null", "http", None, "Bad Request"),
        (b"\xff\xfe\x00", "http", None, "Bad Request"),
        (b"[" * 100_000, "http", None, "Bad Request"),
        (b"1" * 10_000, "http", None, "Bad Request"),
        (b'{"requestError": null}', "http", None, "Bad Request"),
        (b'{"requestError": {"serviceException": []}}', "http", None, "Bad Request"),
        (b'{"message": "no such route"}', "http", None, "no such route"),
        (b'{"message": 7}', "http", None, "7"),
        (b'{"message": null}', "http", None, "Bad Request"),
        (b'{"error": {"code": 1}}', "http", None, "Bad Request"),
        (
            b'{"status": 400, "error": "Bad Request", "message": "from a gateway"}',
            "http",
            None,
            "from a gateway",
        ),
        (b'{"error": "invalid_grant"}', "oauth", "invalid_grant", None),
        (
            b'{"error": "invalid_grant", "error_description": "Invalid user credentials"}',
            "oauth",
            "invalid_grant",
            "Invalid user credentials",
        ),
        (b'{"serviceException": {"messageId": "SVC0001", "text": "x"}}', "serviceException", "SVC0001", "x"),
        (
            b'{"link": [{"href": "x"}], "requestError": {"serviceException": {"messageId": "SVC0001"}}}',
            "serviceException",
            "SVC0001",
            None,
        ),
        (_exception(messageId=None, text=None), "serviceException", None, None),
        (_exception(messageId=2, text=3.5), "serviceException", "2", "3.5"),
        (_exception(messageId="a\nb", text="c\nd"), "serviceException", None, "c d"),
        (_exception("policyException", messageId="POL1009", text="No"), "policyException", "POL1009", "No"),
        (
            _exception(
                messageId="SVC0002", text="Invalid input value for message part %1", variables=["address"]
            ),
            "serviceException",
            "SVC0002",
            "Invalid input value for message part address",
        ),
    ],
)
def test_every_shape_of_an_error_is_read(
    body: bytes, name: str, exception_id: str | None, message: str | None
) -> None:
    expected = ProviderError(name=name, exception_id=exception_id, message=message, http_status=400)

    assert parse_error(400, body) == expected


def test_unknown_status_has_no_description() -> None:
    assert parse_error(599, b"") == ProviderError(name="http", http_status=599)


@pytest.mark.parametrize(
    ("text", "variables", "message"),
    [
        ("%1 and %2", ["a", "b"], "a and b"),
        ("%2 before %1", ["a", "b"], "b before a"),
        ("%1 %1", ["a"], "a a"),
        ("%1 %2", ["a"], "a %2"),
        ("%0 %00", ["a"], "%0 %00"),
        ("%10 then %1", list("abcdefghij"), "j then a"),
        ("%10", ["a"], "%10"),
        ("%1", ["%2", "never"], "%2"),
        ("{} {0} %s %1", ["a"], "{} {0} %s a"),
        ("%1 %2", [None, 7], "%1 7"),
        ("%1", "abc", "%1"),
        ("%1", None, "%1"),
        ("%1", {"1": "a"}, "%1"),
        ("%", ["a"], "%"),
        ("%" + "9" * 400, ["a"], "%" + "9" * 400),
        (r"\1 %1", [r"\g<0>"], r"\1 \g<0>"),
    ],
)
def test_variables_are_put_in_by_their_number(text: str, variables: object, message: str) -> None:
    assert parse_error(400, _exception(messageId="SVC", text=text, variables=variables)).message == message


def test_message_is_bounded_for_any_variables() -> None:
    message = parse_error(400, _exception(messageId="SVC", text="%1" * 900, variables=["x" * 9000])).message

    assert message is not None
    assert len(message) == MAX_MESSAGE_LENGTH


_SVC = ProviderError(name="serviceException", exception_id="SVC0002")
_POL = ProviderError(name="policyException", exception_id="POL0001")
_PAGE = ProviderError(name="http")


def _code(exception_id: str) -> ProviderError:
    return ProviderError(name="serviceException", exception_id=exception_id)


@pytest.mark.parametrize(
    ("status", "retry_after", "error", "answer"),
    [
        (429, None, _PAGE, Unsent),
        (429, 5.0, _code("POL1009"), Unsent),
        (503, 5.0, _PAGE, Unsent),
        (503, 0.0, _PAGE, Unsent),
        (503, None, _code("SVC1000"), Unsent),
        (503, None, _code("SVC2001"), Unsent),
        (503, None, _PAGE, Ambiguous),
        (503, None, _SVC, Ambiguous),
        (500, 5.0, _code("SVC1000"), Ambiguous),
        (500, None, _code("POL1009"), Ambiguous),
        (502, None, _PAGE, Ambiguous),
        (504, 5.0, _PAGE, Ambiguous),
        (507, None, _PAGE, Ambiguous),
        (599, None, _PAGE, Ambiguous),
        (403, None, _PAGE, Unsent),
        (404, None, _PAGE, Unsent),
        (403, None, ProviderError(name="oauth", exception_id="access_denied"), Unsent),
        (403, None, _POL, Refused),
        (403, 5.0, _POL, Refused),
        (403, None, ProviderError(name="policyException"), Refused),
        (404, None, _SVC, Refused),
        (403, None, _code("POL1009"), Blocked),
        (403, None, _code("POL1010"), Blocked),
        (400, None, _code("POL1010"), Blocked),
        (401, None, _PAGE, Blocked),
        (401, 5.0, _SVC, Blocked),
        (301, None, _PAGE, Blocked),
        (307, None, _PAGE, Blocked),
        (304, None, _PAGE, Blocked),
        (408, None, _PAGE, Ambiguous),
        (409, None, _code("SVC0005"), Ambiguous),
        (409, None, _code("POL1009"), Ambiguous),
        (400, None, _SVC, Refused),
        (400, None, _code("SVC1000"), Refused),
        (406, None, _SVC, Refused),
        (413, None, _POL, Refused),
        (400, None, _PAGE, Ambiguous),
        (400, None, ProviderError(name="oauth", exception_id="invalid_request"), Ambiguous),
        (402, None, _PAGE, Ambiguous),
        (405, None, _PAGE, Unsent),
        (406, None, _PAGE, Ambiguous),
        (407, None, _PAGE, Unsent),
        (413, None, _PAGE, Unsent),
        (421, None, _PAGE, Unsent),
        (426, None, _PAGE, Unsent),
        (431, None, _PAGE, Unsent),
        (422, None, _PAGE, Ambiguous),
        (499, None, _PAGE, Ambiguous),
        (101, None, _PAGE, Ambiguous),
        (204, None, _PAGE, Ambiguous),
        (0, None, _PAGE, Ambiguous),
        (600, None, _PAGE, Ambiguous),
    ],
)
def test_status_takes_precedence_over_the_error_code(
    status: int, retry_after: float | None, error: ProviderError, answer: type
) -> None:
    found = classify_send(status, retry_after=retry_after, error=error)

    assert type(found) is answer
    assert not isinstance(found, Accepted)
    assert found.error is error


def test_throttled_answer_keeps_its_retry_after() -> None:
    found = classify_send(429, retry_after=7.5, error=_PAGE)

    assert found == Unsent(error=_PAGE, retry_after=7.5, throttled=True)


@given(st.integers(400, 499), st.none() | st.floats(0, 100), st.sampled_from(["http", "oauth"]))
def test_refusal_without_an_error_of_the_provider_is_not_final(
    status: int, retry_after: float | None, name: str
) -> None:
    found = classify_send(status, retry_after=retry_after, error=ProviderError(name=name, http_status=status))

    assert not isinstance(found, Refused)


def test_gateway_refusal_with_retry_after_throttles_the_account_and_others_are_failures() -> None:
    busy, plain = (classify_send(403, retry_after=after, error=_PAGE) for after in (3.0, None))

    assert busy == Unsent(error=_PAGE, retry_after=3.0, throttled=True)
    assert plain == Unsent(error=_PAGE, retry_after=None, throttled=False)


_NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110 section 5.6.7


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("5, 5", None),
        ("5s", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("\u0665", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("1 jan 99999999999999999999 1:1:1 GMT", None),
        ("5" * 1000, None),
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("3601", MAX_RETRY_AFTER),
        ("9" * 99, MAX_RETRY_AFTER),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:50:07 GMT", 30.0),
        ("Sunday, 06-Nov-94 08:50:07 GMT", 30.0),
        ("Sun Nov  6 08:50:07 1994", 30.0),
        ("Sun, 06 Nov 1994 09:50:07 +0100", 30.0),
        ("Sun, 06 Nov 1994 08:50:07 -0000", 30.0),
        ("Sat, 05 Nov 1994 08:49:37 GMT", 0.0),
        ("Mon, 07 Nov 1994 08:49:37 GMT", MAX_RETRY_AFTER),
    ],
)
def test_retry_after_is_read_in_every_spelling(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=_NOW) == seconds


@pytest.fixture
def _far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "XXX-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_far_from_utc")
def test_date_without_a_zone_is_in_utc_in_any_local_zone() -> None:
    assert parse_retry_after("Sun Nov  6 08:50:07 1994", now=_NOW) == 30.0


@given(st.integers(0, 3600), st.floats(0, 4e9))
def test_retry_after_date_gives_the_time_until_then(seconds: int, now: float) -> None:
    date = format_datetime(datetime.fromtimestamp(int(now) + seconds, UTC), usegmt=True)

    found = parse_retry_after(date, now=int(now))

    assert found == seconds


@given(st.text(max_size=120) | st.text(alphabet="0123456789 :,-+.GMTSunovJa", max_size=40))
def test_any_retry_after_is_read_within_the_bounds(value: str) -> None:
    found = parse_retry_after(value, now=_NOW)

    assert found is None or 0 <= found <= MAX_RETRY_AFTER


_BASE = "/cpaas/smsmessaging/v1/e33c51d7/remoteAddresses"


def _sent(**changes: object) -> dict[str, Any]:
    """Build the response of wire reference 4.1, with `changes`; None removes a key."""
    request: dict[str, Any] = {
        "address": ["+16139998877"],
        "clientCorrelator": 67893,
        "deliveryInfoList": {
            "deliveryInfo": [{"address": "+16139998877", "deliveryStatus": "DeliveredToNetwork"}],
            "resourceURL": f"{_BASE}/+16139998877/messages/inner20Cdx87/deliveryInfos",
        },
        "outboundSMSTextMessage": {"message": "Hi"},
        "resourceURL": f"{_BASE}/+16137001234/messages/olr3j20Cdx87",
        "senderAddress": "+16137001234",
        **changes,
    }
    return {"outboundSMSMessageRequest": {key: value for key, value in request.items() if value is not None}}


def _parse(document: object) -> Answer:
    return parse_send_response(201, json.dumps(document).encode())


def _accepted(**changes: Any) -> Accepted:
    fields: dict[str, Any] = {
        "message_id": "olr3j20Cdx87",
        "sender_address": "+16137001234",
        "delivery_status": "DeliveredToNetwork",
        **changes,
    }
    return Accepted(http_status=201, **fields)


def test_complete_response_has_message_sender_and_status() -> None:
    assert _parse(_sent()) == _accepted()


@pytest.mark.parametrize(
    ("url", "message_id"),
    [
        (f"{_BASE}/+16137001234/messages/m1", "m1"),
        (f"{_BASE}/+1/localAddresses/+2/messages/m1", "m1"),
        (f"https://api.example{_BASE}/+1/messages/m1/", "m1"),
        (f"{_BASE}/+1/messages/m1/deliveryInfos", "m1"),
        (f"{_BASE}/+1/messages/m1?x=/messages/m2", "m1"),
        (f"{_BASE}/messages/messages/m1", "m1"),
        (f"{_BASE}/+1/messages/{'m' * 256}", "m" * 256),
        (f"{_BASE}/+1/messages/{'m' * 257}", "inner20Cdx87"),
        (f"{_BASE}/+1/messages/m\x001", "inner20Cdx87"),
        (f"{_BASE}/+1/messages/", "inner20Cdx87"),
        (f"{_BASE}/+1/messages", "inner20Cdx87"),
        ("", "inner20Cdx87"),
        (None, "inner20Cdx87"),
        (17, "inner20Cdx87"),
        (["/messages/m1"], "inner20Cdx87"),
    ],
)
def test_message_id_is_from_the_outer_url_else_from_the_inner_url(url: object, message_id: str) -> None:
    assert _parse(_sent(resourceURL=url)) == _accepted(message_id=message_id)


_DELIVERED = {"deliveryStatus": "DeliveredToNetwork"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"deliveryInfoList": {"deliveryInfo": [{"deliveryStatus": "DeliveryImpossible"}]}},
            "DeliveryImpossible",
        ),
        ({"deliveryInfoList": {"deliveryInfo": [{"deliveryStatus": "Anything Else"}]}}, "Anything Else"),
        ({"deliveryInfoList": {"deliveryInfo": [None, _DELIVERED]}}, "DeliveredToNetwork"),
        ({"deliveryInfoList": {"deliveryInfo": _DELIVERED}}, "DeliveredToNetwork"),
        ({"deliveryInfoList": {"deliveryInfo": [{"deliveryStatus": None}]}}, None),
        ({"deliveryInfoList": {"deliveryInfo": [{"deliveryStatus": ["x"]}]}}, None),
        ({"deliveryInfoList": {"deliveryInfo": []}}, None),
        ({"deliveryInfoList": []}, None),
        ({"deliveryInfoList": None}, None),
    ],
)
def test_status_is_that_of_the_first_delivery_info(changes: dict[str, Any], expected: str | None) -> None:
    assert _parse(_sent(**changes)) == _accepted(delivery_status=expected)


@pytest.mark.parametrize("sender", [None, "", [], {}, True, "x" * 300, "+1\n2"])
def test_sender_that_is_not_a_text_is_ignored(sender: object) -> None:
    assert _parse(_sent(senderAddress=sender)) == _accepted(sender_address=None)


def test_delivery_info_without_an_id_is_accepted() -> None:
    answer = _parse(_sent(resourceURL=None, deliveryInfoList={"deliveryInfo": [_DELIVERED]}))

    assert answer == _accepted(message_id=None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>created</html>",
        b"null",
        b"[]",
        b"{}",
        b'{"outboundSMSMessageRequest": null}',
        b'{"outboundSMSMessageRequest": []}',
        b'{"outboundSMSMessageRequest": {}}',
        b'{"outboundSMSMessageRequest": {"deliveryInfoList": {"deliveryInfo": [{}]}}}',
        b'{"outboundSMSMessageRequest": {"senderAddress": "+16137001234"}}',
        json.dumps(_sent()).encode()[:-1],
        json.dumps(_sent()).encode()[:-40],
        b"[" * 100_000,
    ],
)
def test_response_without_a_status_of_the_message_is_ambiguous(body: bytes) -> None:
    answer = parse_send_response(201, body)

    assert isinstance(answer, Ambiguous)
    assert answer.error.http_status == 201


def test_duplicate_key_does_not_make_an_accepted_message_ambiguous() -> None:
    body = (
        json.dumps(_sent())
        .encode()
        .replace(b'"clientCorrelator"', b'"senderAddress": "x", "clientCorrelator"')
    )

    assert parse_send_response(201, body) == _accepted()


@given(st.binary() | _JSON.map(lambda value: json.dumps(value).encode()), st.integers())
def test_no_body_and_no_status_raise(body: bytes, status: int) -> None:
    error = parse_error(status, body)

    assert isinstance(classify_send(status, retry_after=None, error=error), get_args(Answer))
    assert isinstance(parse_send_response(status, body), Ambiguous)


@given(_JSON, _JSON, _JSON, st.sampled_from(["serviceException", "policyException"]))
def test_no_value_in_an_envelope_raises(code: Any, text: Any, variables: Any, name: str) -> None:
    error = parse_error(400, _exception(name, messageId=code, text=text, variables=variables))

    assert error.name == name
    assert len(error.message or "") <= MAX_MESSAGE_LENGTH
    assert (error.message or "").isprintable()


@given(_JSON, _JSON, _JSON)
def test_no_value_in_a_send_response_raises(url: Any, delivery: Any, sender: Any) -> None:
    answer = _parse(_sent(resourceURL=url, deliveryInfoList=delivery, senderAddress=sender))

    assert isinstance(answer, Accepted | Ambiguous)
