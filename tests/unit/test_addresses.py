"""Addresses: accepted forms become E.164 or stay unchanged, all others are refused with a reason."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.addresses import Address, parse_address, parse_sender
from bridge.domain.errors import InvalidAddress

_NO_FORM = "is not one of the accepted forms: +E.164, a national number, tel:+E.164, sip:number@domain"


@pytest.mark.parametrize(
    "text",
    [
        "+16131234567",
        "6131234567",
        "16131234567",
        "tel:+16131234567",
        "TEL:+16131234567",
        "tel:+1-613-123-4567",
        "tel:+1(613)123.4567",
        "sip:+16131234567@domain",
        "sip:6131234567@domain",
        "Sip:6131234567@sip.example.com",
        "sip:+16131234567@192.0.2.1",
    ],
)
def test_accepted_forms_are_the_same_number(text: str) -> None:
    assert parse_address(text, default_region="CA") == Address(wire="+16131234567", e164="+16131234567")


@pytest.mark.parametrize("text", ["6131234567", "sip:6131234567@domain"])
def test_national_number_without_a_region_is_unchanged(text: str) -> None:
    assert parse_address(text, default_region=None) == Address(wire="6131234567", e164=None)


@pytest.mark.parametrize(
    ("text", "region", "e164"),
    [
        ("0612345678", "FR", "+33612345678"),
        ("030123456", "DE", "+4930123456"),
        ("06123456", "IT", "+3906123456"),
        ("011441234567890", "CA", "+441234567890"),
        ("16131234567", "US", "+16131234567"),
    ],
)
def test_national_number_is_read_as_dialled_in_its_region(text: str, region: str, e164: str) -> None:
    assert parse_address(text, default_region=region).e164 == e164


@pytest.mark.parametrize(
    ("text", "region"),
    [("12345", "CA"), ("1234567", "US"), ("613123456789", "CA"), ("6131234567", "XX"), ("6131234567", "")],
)
def test_national_number_without_a_match_in_its_region_is_passed_unchanged(text: str, region: str) -> None:
    assert parse_address(text, default_region=region) == Address(wire=text, e164=None)


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("22922", "DE"),
        ("116117", "DE"),
        ("80888", "AT"),
        ("16400", "FI"),
        ("26112", "NO"),
        ("60777", "GB"),
        ("38000", "FR"),
        ("72456", "SE"),
        ("12345", "IT"),
        ("22922", "US"),
        ("1234", "NU"),
    ],
)
def test_short_code_is_passed_unchanged_and_not_extended_to_a_full_number(text: str, region: str) -> None:
    assert parse_address(text, default_region=region) == Address(wire=text, e164=None)
    assert parse_address(f"sip:{text}@domain", default_region=region).e164 is None


@pytest.mark.parametrize(
    ("text", "region", "e164"),
    [("21234", "FK", "+50021234"), ("27121234", "LU", "+35227121234"), ("0301234", "DE", "+49301234")],
)
def test_short_number_of_the_region_is_recognized(text: str, region: str, e164: str) -> None:
    assert parse_address(text, default_region=region).e164 == e164


@given(
    text=st.from_regex(r"[0-9]{3,6}", fullmatch=True),
    region=st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS)),
)
def test_few_digits_are_recognized_only_as_a_number_of_the_region(text: str, region: str) -> None:
    e164 = parse_address(text, default_region=region).e164

    assert e164 is None or phonenumbers.is_valid_number(phonenumbers.parse(e164))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "+",
        "12",
        "1" * 19,
        "hello",
        "default",
        "+16131234567 ",
        " +16131234567",
        "+16131234567\n",
        "6131234567\n",
        "+1 613 123 4567",
        "+1-613-123-4567",
        "(613) 123-4567",
        "++16131234567",
        "+1613123456\uff17",
        "+١٦١٣١٢٣٤٥٦٧",
        "\uff0b16131234567",
        "\u202a+16131234567",
        "tel:6131234567",
        "tel:6131234567;phone-context=+1",
        "tel:+16131234567;ext=5",
        "tel:+1 613 123 4567",
        "tel:%2B16131234567",
        "tel://+16131234567",
        "tel:+-",
        "tel:",
        "sip:+16131234567",
        "sip:+16131234567@",
        "sip:+16131234567@domain;user=phone",
        "sip:+16131234567@domain:5060",
        "sip:+16131234567@domain?subject=x",
        "sip:+16131234567;npdi@domain",
        "sip:+16131234567:secret@domain",
        "sip:%2B16131234567@domain",
        "sip:+1-613-123-4567@domain",
        "sip:alice@domain",
        "sip:+16131234567@a@b",
        "sip:+16131234567@домен",
        "sip:+16131234567@" + "d" * 400,
        "sips:+16131234567@domain",
        "\u017fip:+16131234567@domain",
        "sms:+16131234567",
        "tel:sip:+16131234567@domain",
        "1" * 1_000_000,
    ],
)
def test_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress) as caught:
        parse_address(text, default_region="CA")

    assert caught.value.reasons == (_NO_FORM,)


@pytest.mark.parametrize(
    "text",
    [
        "+1999",
        "+1613123456",
        "+161312345678",
        "+06131234567",
        "+999123456789",
        "+1613123",
        "+4912",
        "+" + "1" * 16,
        "+11234567890123",
        "tel:+1-999",
        "sip:+1613123@domain",
    ],
)
def test_number_of_no_country_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress) as caught:
        parse_address(text, default_region="CA")

    assert caught.value.reasons == ("is not a possible number of any country",)


def test_sender_may_be_default() -> None:
    sender = parse_sender("default", default_region="CA")

    assert sender == Address(wire="default", e164=None)
    assert sender.is_default


def test_other_senders_are_addresses() -> None:
    sender = parse_sender("6131234567", default_region="CA")

    assert sender.wire == "+16131234567"
    assert not sender.is_default


@pytest.mark.parametrize("text", ["Default", "default ", "DEFAULT", "ACME"])
def test_other_words_are_not_senders(text: str) -> None:
    with pytest.raises(InvalidAddress):
        parse_sender(text, default_region="CA")


def test_address_shows_no_whole_number() -> None:
    assert repr(parse_address("+16131238877", default_region=None)) == "Address(***8877)"
    assert repr(parse_sender("default", default_region=None)) == "Address(default)"


@given(st.from_regex(r"\+1[2-9][0-9]{9}", fullmatch=True))
def test_north_american_numbers_are_judged_as_the_library_judges_them(text: str) -> None:
    parsed = phonenumbers.parse(text)

    assert phonenumbers.is_possible_number(parsed)
    assert phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) == text
    assert parse_address(text, default_region=None).e164 == text


#: The forms that a reason lists; a text can be a part of them.
FORMS = "+E.164, a national number, tel:+E.164, sip:number@domain"


@given(
    st.text() | st.text(alphabet="+0123456789-.()telsip:@; %٣\n"),
    st.none() | st.sampled_from(["CA", "DE", "??"]),
)
def test_any_text_is_an_address_or_has_a_reason_that_does_not_repeat_it(
    text: str, region: str | None
) -> None:
    try:
        address = parse_address(text, default_region=region)
    except InvalidAddress as error:
        reason = str(error).removesuffix(FORMS)
        assert len(text) < 4 or text not in reason
    else:
        assert address.e164 in {None, address.wire}
        assert address.wire.isascii()
        assert parse_address(address.wire, default_region=region) == address


@pytest.mark.parametrize(
    "text", ["+4930123456", "+49301", "+999123456789", "tel:+49-30-123456", "030123456", "12345"]
)
def test_any_length_is_accepted_in_a_valid_form_without_the_library(text: str) -> None:
    address = parse_address(text, default_region="DE", checks_length=False)

    assert address.wire == text.removeprefix("tel:").replace("-", "")
    assert (address.e164 is None) == (not text.removeprefix("tel:").startswith("+"))


@pytest.mark.parametrize("text", ["+0123", "+" + "1" * 16, "nobody", "12", "+49 30 123456"])
def test_invalid_form_is_refused_without_the_library(text: str) -> None:
    with pytest.raises(InvalidAddress):
        parse_address(text, default_region=None, checks_length=False)
