"""Parser of addresses into their normal form (SPEC section 5).

    +16131234567                 E.164
    6131234567                   a national number
    tel:+16131234567             RFC 3966; visual separators (``-.()``) are removed
    sip:+16131234567@domain      RFC 3261; only the number is used, the domain is ignored
    sip:6131234567@domain

All other forms are refused: spaces, digits that are not ASCII, percent-encoding, parameters (``;ext=``,
``;user=phone``), a password, a port. The parser does not guess by ignoring a part. Schemes are case-insensitive (RFC
3986 section 3.1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from bridge.domain.errors import InvalidAddress
from bridge.domain.masks import mask_number

#: The sender address with which the provider chooses the number (wire reference 4.1).
DEFAULT_SENDER = "default"

#: Digits of a number without a country code: from short codes to E.164 after an international prefix.
_NATIONAL = r"[0-9]{3,18}"
_FORMS = re.compile(
    rf"""
      (?P<plain> \+[0-9]+ | {_NATIONAL} )
    | (?i:tel) : (?P<tel> \+ [-.()]* [0-9] [-.()0-9]* )
    | (?i:sip) : (?P<sip> \+[0-9]+ | {_NATIONAL} ) @ [A-Za-z0-9] [A-Za-z0-9.-]{{0,252}}
    """,
    re.ASCII | re.VERBOSE,
)
#: Longer than any address with its domain; a longer text is refused before the pattern and the cache.
_MAX_LENGTH = 300

_NO_FORM = "is not one of the accepted forms: +E.164, a national number, tel:+E.164, sip:number@domain"

_E164 = re.compile(r"\+[1-9][0-9]{1,14}", re.ASCII)
#: A shortcut for North American numbers, with the library's result: eleven digits, area codes from 2.
_NORTH_AMERICAN = re.compile(r"\+1[2-9][0-9]{9}", re.ASCII)
_SEPARATORS = str.maketrans("", "", "-.()")

#: Digits of the longest short codes in most countries; libphonenumber knows longer ones for some.
_LONGEST_SHORT_CODE = 6

#: The size of the cache: senders and lists of destinations repeat, other numbers occur once.
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Address:
    """A number, or ``default`` for a sender. `repr` shows at most the last digits."""

    #: The form for the provider: E.164 if it can be derived, else the national number unchanged.
    wire: str
    #: The number in E.164; None if it cannot be derived, and then the submission cannot be reconciled.
    e164: str | None

    @property
    def is_default(self) -> bool:
        """Whether the provider chooses the number."""
        return self.wire == DEFAULT_SENDER

    def __repr__(self) -> str:
        return f"Address({self.wire if self.is_default else mask_number(self.wire)})"


def parse_address(text: str, *, default_region: str | None, checks_length: bool = True) -> Address:
    """Return the address in `text`.

    `default_region` (ISO 3166-1, two capital letters) is the region of national numbers. A national number stays
    unchanged without a region, if its length does not exist in the region, or if it is or may be a short code.

    Raises:
        InvalidAddress: with a reason that continues a field's name and does not repeat the value.

    """
    if len(text) > _MAX_LENGTH:
        raise InvalidAddress(_NO_FORM)
    return _parse(text, default_region, checks_length)


def is_region(code: str) -> bool:
    """Whether `code` (ISO 3166-1, two capital letters) is a region that libphonenumber knows."""
    import phonenumbers

    return code in phonenumbers.SUPPORTED_REGIONS


def parse_sender(text: str, *, default_region: str | None, checks_length: bool = True) -> Address:
    """Return the sender in `text`: an address, or ``default``.

    Raises:
        InvalidAddress: as `parse_address` does.

    """
    if text == DEFAULT_SENDER:
        return DEFAULT
    return parse_address(text, default_region=default_region, checks_length=checks_length)


DEFAULT = Address(wire=DEFAULT_SENDER, e164=None)


@lru_cache(maxsize=_REMEMBERED)
def _parse(text: str, default_region: str | None, checks_length: bool) -> Address:  # noqa: FBT001 - a key of the cache
    found = _FORMS.fullmatch(text)
    if found is None:
        raise InvalidAddress(_NO_FORM)
    number = found["plain"] or found["sip"] or found["tel"].translate(_SEPARATORS)
    if not number.startswith("+"):
        return _national(number, default_region if checks_length else None)
    if not (_is_possible(number) if checks_length else _E164.fullmatch(number)):
        raise InvalidAddress("is not a possible number of any country")
    return Address(wire=number, e164=number)


def _national(number: str, region: str | None) -> Address:
    e164 = _in_region(number, region) if region and not _is_short_code(number, region) else None
    return Address(wire=e164 or number, e164=e164)


def _is_short_code(number: str, region: str) -> bool:
    """Whether `number` is a short code of `region`, or may be one.

    Germany has numbers with as few digits as a short code, so that `22922` would become `+4922922`, another
    subscriber's number. So few digits are a number only if libphonenumber knows them as valid, and not as a short code.
    """
    import phonenumbers

    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return False
    if len(number) > _LONGEST_SHORT_CODE and not phonenumbers.is_possible_short_number_for_region(
        parsed, region
    ):
        return False
    is_known = phonenumbers.is_valid_short_number_for_region(parsed, region)
    return is_known or not phonenumbers.is_valid_number(parsed)


def _is_possible(number: str) -> bool:
    """Whether a country has numbers of this length; not whether the number is assigned."""
    if _NORTH_AMERICAN.fullmatch(number):
        return True
    return _E164.fullmatch(number) is not None and _in_region(number, None) is not None


def _in_region(number: str, region: str | None) -> str | None:
    """Return `number`, as dialled in `region`, in E.164; None if no number of the region has its length."""
    # The import takes about 50 ms. It is not done at the start because most numbers do not need the library.
    import phonenumbers

    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None
    # Not `is_possible_number`, which accepts a number without its area code.
    if phonenumbers.is_possible_number_with_reason(parsed) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
