"""Parser of a broker URL's query: RabbitMQ's "URI query parameters", and no others.

https://www.rabbitmq.com/docs/uri-query-parameters: `heartbeat` is in seconds, `connection_timeout` in milliseconds.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote

from bridge.domain.errors import BridgeError

#: RabbitMQ's mechanisms that py-amqp supports. EXTERNAL is the client certificate (rabbitmq_auth_mechanism_ssl).
MECHANISMS = ("PLAIN", "AMQPLAIN", "EXTERNAL")
#: The maximum for connecting, in seconds. A longer wait would look like a stalled thread.
LONGEST_CONNECT = 10.0
#: Seconds, as in `broker.heartbeat`.
LONGEST_HEARTBEAT = 3600
#: A process opens a few channels beside its permanent ones, to check exchanges and queues.
FEWEST_CHANNELS = 10

_TLS_NAMES = frozenset({"cacertfile", "certfile", "keyfile", "verify", "server_name_indication"})
_NAMES = _TLS_NAMES | {"auth_mechanism", "heartbeat", "connection_timeout", "channel_max"}
_VERIFY = {"verify_peer": True, "verify_none": False}
#: A name or an address that a certificate may contain.
_SERVER_NAME = re.compile(r"[A-Za-z0-9._:-]{1,253}")


class BadBrokerUrl(BridgeError, ValueError):
    """A broker's URL is not valid. The message continues the setting's name and contains no part of the URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Files in PEM format. None means the system's trusted certificates, and no client certificate."""

    ca_file: str | None = None
    certificate: str | None = None
    #: None if the key is in the certificate's file.
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """All parameters of one URL. Times are in seconds; None means not given."""

    files: TlsFiles
    verify: bool
    server_name: str | None
    mechanisms: tuple[str, ...]
    heartbeat: float | None
    connect_timeout: float | None
    channel_max: int | None


def read_parameters(query: str, *, is_encrypted: bool) -> Parameters:
    """Return the parameters of `query`, whose escapes have been checked.

    Raises:
        BadBrokerUrl: a parameter is unknown, duplicated, has an invalid value, or requires TLS.

    """
    given = _given(query)
    if not is_encrypted and not _TLS_NAMES.isdisjoint(given):
        raise BadBrokerUrl(f"has a parameter that requires amqps://: {', '.join(sorted(_TLS_NAMES))}")
    one = {name: values[0] for name, values in given.items()}
    if "keyfile" in one and "certfile" not in one:
        raise BadBrokerUrl("has keyfile without certfile")
    timeout = _whole(one, "connection_timeout", 1, int(LONGEST_CONNECT * 1000), "milliseconds")
    heartbeat = _whole(one, "heartbeat", 0, LONGEST_HEARTBEAT, "seconds")
    return Parameters(
        files=TlsFiles(
            ca_file=one.get("cacertfile"), certificate=one.get("certfile"), key=one.get("keyfile")
        ),
        verify=_verify(one.get("verify", "verify_peer")),
        server_name=_server_name(one.get("server_name_indication")),
        mechanisms=_mechanisms(given.get("auth_mechanism", [])),
        heartbeat=None if heartbeat is None else float(heartbeat),
        connect_timeout=None if timeout is None else timeout / 1000,
        # RabbitMQ writes 0 for no limit.
        channel_max=_whole(one, "channel_max", FEWEST_CHANNELS, 65535, "channels", zero=True) or None,
    )


def has_control(text: str) -> bool:
    """Whether a text contains a control character, including U+0080 to U+009F and the line separators."""
    return any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in text)


def _given(query: str) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    for part in filter(None, query.split("&")):
        name, _, escaped = part.partition("=")
        value = unquote(escaped)
        if name not in _NAMES:
            raise BadBrokerUrl(f"has a parameter other than {', '.join(sorted(_NAMES))}")
        if not value or has_control(value):
            raise BadBrokerUrl(f"has an empty {name}, or one with a control character")
        given.setdefault(name, []).append(value)
        if len(given[name]) > 1 and name != "auth_mechanism":
            raise BadBrokerUrl(f"has {name} twice")
    return given


def _whole(
    given: dict[str, str], name: str, least: int, most: int, unit: str, *, zero: bool = False
) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    number = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else -1
    if not (least <= number <= most or (zero and number == 0)):
        also = "0 for no limit, or " if zero else ""
        raise BadBrokerUrl(f"has a {name} that is not {also}a whole number of {unit} from {least} to {most}")
    return number


def _verify(text: str) -> bool:
    if text not in _VERIFY:
        raise BadBrokerUrl(f"has a verify that is neither {' nor '.join(_VERIFY)}")
    return _VERIFY[text]


def _server_name(text: str | None) -> str | None:
    if text is not None and not _SERVER_NAME.fullmatch(text):
        raise BadBrokerUrl("has a server_name_indication that is neither a name nor an address")
    return text


def _mechanisms(given: list[str]) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(value.upper() for value in given))
    if not set(wanted) <= set(MECHANISMS):
        raise BadBrokerUrl(f"has an auth_mechanism other than {', '.join(MECHANISMS)}")
    return wanted or ("PLAIN",)
