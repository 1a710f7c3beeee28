"""Parser of broker URLs, used by the settings, all processes and commands, and the client.

Syntax: the RabbitMQ URI specification on top of RFC 3986; parameters: RabbitMQ's "URI query parameters". An error never
contains a part of the URL: any part may be a password that is not escaped.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from bridge.domain.broker_parameters import BadBrokerUrl, Parameters, TlsFiles, has_control, read_parameters
from bridge.domain.hosts import is_host_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PORT, TLS_PORT = 5672, 5671
#: RabbitMQ's default user, which may connect from the broker's own machine only.
GUEST = "guest"
#: Bytes of a virtual host's name, a short string (AMQP 0-9-1 section 4.2.5.3).
LONGEST_VHOST = 255

#: Scheme, authority, path, query (RFC 3986 appendix B); a `#` is refused before.
_URL = re.compile(r"(amqps?)://([^/?]*)(?:/([^?]*))?(?:\?(.*))?", re.IGNORECASE)
#: The end of one URL in a list: a comma within a URL, such as in a password, does not separate.
_NEXT_URL = re.compile(r",(?=\s*(?:amqps?://|$))", re.IGNORECASE)
#: The separator of kombu; here `;` is an ordinary character.
_OTHER_LIST = re.compile(r";\s*amqps?://", re.IGNORECASE)
_LINES = re.compile(r"\samqps?://", re.IGNORECASE)
_WHOLE = "each address of a list begins with amqp:// or amqps://"
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The encryption of a connection, and the certificate that is accepted."""

    files: TlsFiles
    #: Whether the certificate's chain and name are checked.
    verify: bool
    #: The name that the certificate must have, which is also sent as SNI.
    server_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerNode:
    """One address of the broker with its URL's values. Times are in seconds; None means not given."""

    #: A name or an address; an IPv6 address without brackets.
    host: str
    port: int
    user: str = field(repr=False)
    password: str = field(repr=False)
    vhost: str
    #: None means not encrypted.
    tls: Tls | None
    #: SASL mechanisms in the order of preference.
    mechanisms: tuple[str, ...]
    heartbeat: float | None
    connect_timeout: float | None
    channel_max: int | None

    @property
    def location(self) -> str:
        """Host and port, as in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def split_urls(text: str) -> list[str]:
    """Return the URLs of a comma-separated list; only a comma before ``amqp://`` or ``amqps://`` separates."""
    return [url for part in _NEXT_URL.split(text) if (url := part.strip())]


def read_broker_urls(urls: Sequence[str], files: TlsFiles | None = None) -> tuple[BrokerNode, ...]:
    """Return the addresses in `urls`, in their order.

    `files` are used for encrypted addresses whose URLs name no files.

    Raises:
        BadBrokerUrl: one URL is not valid, or the vhosts differ; the message has the URL's number in the list and the
            reason.

    """
    nodes = []
    for number, url in enumerate(urls, start=1):
        try:
            nodes.append(read_broker_url(url, files))
        except BadBrokerUrl as e:
            raise BadBrokerUrl(f"URL {number} of {len(urls)} {e}" if len(urls) > 1 else str(e)) from None
        if nodes[-1].vhost != nodes[0].vhost:
            raise BadBrokerUrl(
                f"URL {number} of {len(urls)} has another vhost than URL 1: all addresses must be nodes of one cluster"
            )
    if files is not None and files != TlsFiles() and not any(node.tls for node in nodes):
        raise BadBrokerUrl(
            "begins with amqp://, which is not encrypted, although a file for TLS is set: use amqps://"
        )
    return tuple(nodes)


def read_broker_url(url: str, files: TlsFiles | None = None) -> BrokerNode:
    """Return the address in one URL, for example ``amqps://user:password@rabbit.example/vhost``.

    The default port is 5672, or 5671 with ``amqps``. The default user is ``guest``. Without a virtual host, or with an
    empty one, it is ``/``. User and password may contain all characters that do not end the authority, including ``;``
    and ``,``.

    Raises:
        BadBrokerUrl: the URL is not valid; the message has the reason and contains no part of the URL.

    """
    _check_characters(url)
    _check_alone(url)
    parts = _URL.fullmatch(url)
    if parts is None:
        raise BadBrokerUrl("must begin with amqp:// or amqps:// and name a host")
    scheme, authority, path, query = parts.groups(default="")
    if "@" in path or "@" in query:
        hint = f"; {_WHOLE}" if "," in path else ""
        raise BadBrokerUrl(
            "has an @ after the host: write / ? # @ in a user name, a password or a vhost as %2F %3F %23 %40"
            + hint
        )
    is_encrypted = scheme.lower() == "amqps"
    parameters = read_parameters(query, is_encrypted=is_encrypted)
    credentials, _, location = authority.rpartition("@")
    host, port = _location(location)
    user, password = _credentials(credentials)
    return BrokerNode(
        host=host,
        port=port or (TLS_PORT if is_encrypted else PORT),
        user=user,
        password=password,
        vhost=_vhost(path),
        tls=_tls(parameters, host, files or TlsFiles()) if is_encrypted else None,
        mechanisms=parameters.mechanisms,
        heartbeat=parameters.heartbeat,
        connect_timeout=parameters.connect_timeout,
        channel_max=parameters.channel_max,
    )


def unverified(nodes: Iterable[BrokerNode]) -> list[str]:
    """Return the addresses whose certificates are not verified, as host and port."""
    return [node.location for node in nodes if node.tls is not None and not node.tls.verify]


def _check_characters(url: str) -> None:
    if not url:
        raise BadBrokerUrl("is empty: give the broker's URL, for example amqp://user:password@host/vhost")
    try:
        url.encode()
    except UnicodeEncodeError:
        raise BadBrokerUrl("is not UTF-8") from None
    if _LINES.search(url):
        raise BadBrokerUrl("has a space or a line end before another URL: separate the URLs with commas")
    if has_control(url) or any(character.isspace() for character in url):
        raise BadBrokerUrl("contains a space or a control character: write a space as %20")
    if "#" in url:
        raise BadBrokerUrl("contains a #: write it as %23")
    if _BAD_ESCAPE.search(url):
        raise BadBrokerUrl("contains a % that does not begin an escape: write it as %25")
    try:
        unquote(url, errors="strict")
    except UnicodeDecodeError:
        raise BadBrokerUrl("has an escape that is not UTF-8") from None


def _check_alone(url: str) -> None:
    """Refuse a list with the wrong separators."""
    if _OTHER_LIST.search(url):
        raise BadBrokerUrl("has a ; before another URL: make a list, or separate the URLs with commas")
    if url.endswith(","):
        raise BadBrokerUrl("ends with a comma: remove it")


def _location(location: str) -> tuple[str, int | None]:
    """Return host and port."""
    if ";" in location or "," in location:
        raise BadBrokerUrl(f"has a ; or a , in its host: separate several addresses with commas; {_WHOLE}")
    bracketed = re.fullmatch(r"\[([^]]*)\](?::(.*))?", location)
    if bracketed is not None:
        host, port = _ipv6(bracketed[1]), bracketed[2]
    else:
        host, _, port = location.partition(":")
        if not is_host_name(host):
            raise BadBrokerUrl(
                "must name a host: letters, digits, dots and hyphens, or an IPv6 address in []"
            )
    if not port:
        return host, None
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise BadBrokerUrl(
            "has a port that is not a number from 1 to 65535; write : / ? # @ in a password as %3A %2F %3F %23 %40"
        )
    return host, int(port)


def _ipv6(text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise BadBrokerUrl("has something in [] that is not an IPv6 address") from None
    if address.scope_id is not None:
        raise BadBrokerUrl("has an IPv6 address with a zone: name a host, or an address without one")
    return str(address)


def _credentials(text: str) -> tuple[str, str]:
    if not text:
        return GUEST, GUEST
    user, _, password = (unquote(part) for part in text.partition(":"))
    if has_control(user) or "\x00" in password:
        raise BadBrokerUrl("has a control character in the user name or the password")
    return user, password


def _vhost(path: str) -> str:
    # kombu writes `/` as `//`. Other clients read a single `/` as an empty name, which no broker has.
    if path in {"", "/"}:
        return "/"
    if any(character in path for character in "/;,"):
        raise BadBrokerUrl(f"has a / ; or , in its vhost: write it as %2F %3B %2C; {_WHOLE}")
    vhost = unquote(path)
    if has_control(vhost) or len(vhost.encode()) > LONGEST_VHOST:
        raise BadBrokerUrl(f"has a vhost with a control character, or of more than {LONGEST_VHOST} bytes")
    return vhost


def _tls(parameters: Parameters, host: str, files: TlsFiles) -> Tls:
    own = parameters.files
    pair = own if own.certificate is not None else files
    return Tls(
        files=TlsFiles(ca_file=own.ca_file or files.ca_file, certificate=pair.certificate, key=pair.key),
        verify=parameters.verify,
        # A final dot keeps resolvers from trying other names; certificates have none.
        server_name=parameters.server_name or host.rstrip("."),
    )
