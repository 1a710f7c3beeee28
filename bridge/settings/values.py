"""The types of the settings' values. A reason describes the mistake and never contains the value."""

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
    """A URL that may contain a password or a token. It is shown masked; `get_secret_value()` returns all of it.

    Every setting that may contain a secret URL has this type.
    """

    def _display(self) -> str:
        return mask_url(self.get_secret_value())


def _none_if_empty(value: object) -> object:
    """Read an empty string or list as None: TOML has no null, and a variable can only be empty."""
    return None if value in ("", []) else value


def _split(value: object) -> object:
    """Split a comma-separated string, and strip the spaces around its parts."""
    if not isinstance(value, str):
        return value
    return [part for part in map(str.strip, value.split(",")) if part]


def _split_whole(value: object) -> object:
    """Split like `_split`, but refuse empty elements: a missing element of an access list would allow more."""
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",")]
    if not any(parts):
        raise ValueError("is empty: remove it for none")
    if not all(parts):
        raise ValueError("has an empty element: remove the extra comma")
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
    # An HTTP client cannot put these into a request.
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
    # A value of blanks and commas alone has no address.
    read_broker_urls([url.get_secret_value() for url in value] or [""])
    return value


def _ledger_url(value: SecretUrl) -> SecretUrl:
    read_ledger_url(value.get_secret_value())
    return value


def _header_value(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", value.get_secret_value()):
        raise ValueError("must be printable ASCII: it is the value of an HTTP header")
    return value


def _file_name(value: object) -> object:
    # A credential or a `_FILE` variable may contain the key itself; the message must not show it.
    if isinstance(value, str) and ("\n" in value or value.startswith("-----BEGIN")):
        raise ValueError("must be the name of a file, not the content of one")
    return value


NONE_IF_EMPTY = BeforeValidator(_none_if_empty)
COMMA_SEPARATED = BeforeValidator(_split)
#: A list that restricts access: only `[]` means none.
STRICT_LIST = BeforeValidator(_split_whole)

#: The path of a file or directory, which is not secret; never its content.
FilePath = Annotated[Path | None, BeforeValidator(_file_name), NONE_IF_EMPTY]
Text = Annotated[str | None, NONE_IF_EMPTY]
SecretText = Annotated[SecretStr | None, NONE_IF_EMPTY]
#: A share from 0 to 1.
Share = Annotated[float, Field(ge=0, le=1)]
HttpUrl = Annotated[Annotated[SecretUrl, AfterValidator(_http_url)] | None, NONE_IF_EMPTY]
#: The management API always requires a user.
ManagementUrl = Annotated[Annotated[SecretUrl, AfterValidator(_management_url)] | None, NONE_IF_EMPTY]
#: Without password and options, so that nothing in it is secret.
BaseUrl = Annotated[Annotated[str, AfterValidator(_base_url)] | None, NONE_IF_EMPTY]
ProxyUrl = Annotated[Annotated[SecretUrl, AfterValidator(_proxy_url)] | None, NONE_IF_EMPTY]
#: One or several URLs of the broker, tried in their order.
BrokerUrls = Annotated[
    Annotated[tuple[SecretUrl, ...], BeforeValidator(_split_broker_urls), AfterValidator(_broker_urls)]
    | None,
    NONE_IF_EMPTY,
]
LedgerUrl = Annotated[SecretUrl, AfterValidator(_ledger_url)]
HeaderSecret = Annotated[SecretStr, AfterValidator(_header_value)]

#: A network in CIDR notation, or a single address.
Network = Annotated[str, AfterValidator(listeners.network)]
#: A number in any form of SPEC section 5; the domain parses it.
Number = Annotated[
    str, StringConstraints(pattern=r"^((tel:|sip:)?\+?[0-9]{4,15}|sip:\+?[0-9]{4,15}@[^@\s]+)$")
]
#: Characters that are safe in an AMQP name and in the path of an event's `source`.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
#: Like `Name`; an empty one is derived from the prefix.
DerivedName = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:-]{0,127})?$")]
#: A port to listen on; 0 lets the system choose one.
Port = Annotated[int, Field(ge=0, le=65535)]
#: Seconds, more than 0.
Seconds = Annotated[float, Field(gt=0)]
#: Seconds for connecting to the broker.
ConnectSeconds = Annotated[float, Field(gt=0, le=LONGEST_CONNECT)]
#: Seconds of a socket's timeout: the system call has milliseconds in 31 bits.
SocketTimeout = Annotated[float, Field(gt=0, le=86_400)]
#: Seconds, 0 or more.
SecondsOrZero = Annotated[float, Field(ge=0)]
#: A rate per second; 0 means no limit.
PerSecond = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
#: A host or an address to listen on.
Host = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(listeners.host)]
#: The path of a URL, percent-encoded.
UrlPath = Annotated[str, AfterValidator(listeners.path)]
LOWER = BeforeValidator(_lower)
