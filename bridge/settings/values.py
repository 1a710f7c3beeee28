"""The kinds of values a configuration is made of. A reason names what is wrong, never the value itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, Secret, SecretStr, StringConstraints

from bridge.domain.broker_parameters import LONGEST_CONNECT
from bridge.domain.broker_url import read_broker_urls, split_urls
from bridge.domain.hosts import is_host
from bridge.domain.ledger_url import read_ledger_url
from bridge.domain.masked_urls import mask_url
from bridge.settings import listeners

_HTTP = frozenset({"http", "https"})


class SecretUrl(Secret[str]):
    """A URL that may carry a password or a token, shown without them. `get_secret_value()` is the whole of it.

    Every setting that may hold one is of this type, so that none can be shown as it is.
    """

    def _display(self) -> str:
        return mask_url(self.get_secret_value())


def _none_if_empty(value: object) -> object:
    """Read an empty string or list as "none": TOML has no word for it, and a variable can only be emptied."""
    return None if value in ("", []) else value


def _split(value: object) -> object:
    """Read a string as a comma-separated list, spaces around its parts aside."""
    if not isinstance(value, str):
        return value
    return [part for part in map(str.strip, value.split(",")) if part]


def _split_whole(value: object) -> object:
    """As `_split`, where leaving out an element would leave a door open: each must be there, and one at least."""
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",")]
    if not any(parts):
        raise ValueError("is empty: leave it out for none")
    if not all(parts):
        raise ValueError("has nothing between two of its commas, or before or behind one")
    return parts


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _url(value: str, schemes: frozenset[str]) -> str:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in schemes:
        raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in sorted(schemes))}")
    if not parts.hostname or port == 0:
        raise ValueError("must name a host")
    return value


def _http_url(value: SecretUrl) -> SecretUrl:
    return SecretUrl(_url(value.get_secret_value(), _HTTP).rstrip("/"))


def _management_url(value: SecretUrl) -> SecretUrl:
    url = value.get_secret_value()
    parts = urlsplit(_http_url(value).get_secret_value())
    # What an HTTP client can't put into a request.
    if not url.isprintable() or " " in url or not parts.path.isascii():
        raise ValueError(
            "has a space, an unprintable character, or a path that is not ASCII: percent-encode it"
        )
    if not is_host(parts.hostname or ""):
        raise ValueError("must name a host: letters, digits, dots and hyphens, or an IPv6 address in []")
    if not parts.username or parts.password is None or parts.query or parts.fragment:
        raise ValueError(
            "must be http(s)://user:password@host[:port]: percent-encode /, ? and # in user and password"
        )
    return _http_url(value)


def _base_url(value: str) -> str:
    parts = urlsplit(_url(value, _HTTP))
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be scheme, host and path alone")
    return value.rstrip("/")


def _proxy_url(value: SecretUrl) -> SecretUrl:
    parts = urlsplit(_url(value.get_secret_value(), _HTTP))
    if parts.path.rstrip("/") or parts.query or parts.fragment:
        raise ValueError(
            "must be http(s)://[user:password@]host[:port]: percent-encode /, ? and # in user and password"
        )
    return value


def _split_broker_urls(value: object) -> object:
    if not isinstance(value, str | list | tuple):
        raise ValueError("must be a URL, or a list of URLs in [ ]")  # noqa: TRY004 - pydantic reports a ValueError
    return split_urls(value) if isinstance(value, str) else value


def _broker_urls(value: tuple[SecretUrl, ...]) -> tuple[SecretUrl, ...]:
    # Blanks and commas alone are no list of addresses.
    read_broker_urls([url.get_secret_value() for url in value] or [""])
    return value


def _ledger_url(value: SecretUrl) -> SecretUrl:
    read_ledger_url(value.get_secret_value())
    return value


def _header_value(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", value.get_secret_value()):
        raise ValueError("must be printable ASCII: it travels in a header")
    return value


def _file_name(value: object) -> object:
    # A credential, or a variable with `_FILE`, that holds a key in place of its file's name: it is shown nowhere.
    if isinstance(value, str) and ("\n" in value or value.startswith("-----BEGIN")):
        raise ValueError("must be the name of a file, and is what such a file holds")
    return value


NONE_IF_EMPTY = BeforeValidator(_none_if_empty)
COMMA_SEPARATED = BeforeValidator(_split)
#: A list that keeps strangers out: only `[]` says that there is none.
GUARDING = BeforeValidator(_split_whole)

#: A file, or a directory; not secret, and never what is in it.
Place = Annotated[Path | None, BeforeValidator(_file_name), NONE_IF_EMPTY]
Text = Annotated[str | None, NONE_IF_EMPTY]
SecretText = Annotated[SecretStr | None, NONE_IF_EMPTY]
#: Between none and all.
Share = Annotated[float, Field(ge=0, le=1)]
HttpUrl = Annotated[Annotated[SecretUrl, AfterValidator(_http_url)] | None, NONE_IF_EMPTY]
#: The management API always wants a user.
ManagementUrl = Annotated[Annotated[SecretUrl, AfterValidator(_management_url)] | None, NONE_IF_EMPTY]
#: Neither password nor options: nothing in it is secret.
BaseUrl = Annotated[Annotated[str, AfterValidator(_base_url)] | None, NONE_IF_EMPTY]
ProxyUrl = Annotated[Annotated[SecretUrl, AfterValidator(_proxy_url)] | None, NONE_IF_EMPTY]
#: One URL of the broker or several, tried in their order.
BrokerUrls = Annotated[
    Annotated[tuple[SecretUrl, ...], BeforeValidator(_split_broker_urls), AfterValidator(_broker_urls)]
    | None,
    NONE_IF_EMPTY,
]
LedgerUrl = Annotated[SecretUrl, AfterValidator(_ledger_url)]
HeaderSecret = Annotated[SecretStr, AfterValidator(_header_value)]

#: A network in CIDR notation; an address is a network of its own.
Network = Annotated[str, AfterValidator(listeners.network)]
#: A number in any form of SPEC section 5; the domain says what it means.
Number = Annotated[
    str, StringConstraints(pattern=r"^((tel:|sip:)?\+?[0-9]{4,15}|sip:\+?[0-9]{4,15}@[^@\s]+)$")
]
#: Safe in an AMQP name, and in the path of an event's `source`.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
#: As `Name`; empty: derived from the prefix.
DerivedName = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:-]{0,127})?$")]
#: A port to listen on; 0 lets the system choose one.
Port = Annotated[int, Field(ge=0, le=65535)]
#: Seconds, more than none.
Seconds = Annotated[float, Field(gt=0)]
#: Seconds that connecting to the broker may take.
ConnectSeconds = Annotated[float, Field(gt=0, le=LONGEST_CONNECT)]
#: Seconds that a socket can wait: its system call has milliseconds in 31 bits.
SocketTimeout = Annotated[float, Field(gt=0, le=86_400)]
#: Seconds, or none at all.
SecondsOrZero = Annotated[float, Field(ge=0)]
#: A rate; 0 is no limit.
PerSecond = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
#: A host or an address to listen on.
Host = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(listeners.host)]
#: The path of a URL, percent-encoded.
UrlPath = Annotated[str, AfterValidator(listeners.path)]
LOWER = BeforeValidator(_lower)
