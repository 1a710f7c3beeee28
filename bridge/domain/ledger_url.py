"""Parser of `ledger.url`, used by the settings and by all processes and commands.

PostgreSQL's URLs are libpq's (PostgreSQL documentation, "Connection URIs"), including several hosts. The parser is
stricter with passwords: one that is not percent-encoded is refused, since libpq would guess, a part of the password
could be taken for a host, and a log would show it. SQLAlchemy's list, `?host=a:1&host=b:2`, is accepted too.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: The allowed parameters of libpq (PostgreSQL 18, "Parameter Key Words").
PARAMETERS = frozenset(
    (
        "application_name", "channel_binding", "connect_timeout", "dbname",
        "fallback_application_name", "gssdelegation", "gssencmode", "gsslib", "host", "hostaddr",
        "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "krbsrvname",
        "load_balance_hosts", "max_protocol_version", "min_protocol_version", "oauth_client_id",
        "oauth_client_secret", "oauth_issuer", "oauth_scope", "options", "passfile", "password",
        "port", "require_auth", "requirepeer", "scram_client_key", "scram_server_key", "service",
        "sslcert", "sslcertmode", "sslcompression", "sslcrl", "sslcrldir", "sslkey",
        "sslkeylogfile", "sslmode", "sslnegotiation", "sslpassword", "sslrootcert", "sslsni",
        "ssl_max_protocol_version", "ssl_min_protocol_version", "target_session_attrs",
        "tcp_user_timeout", "user",
    )
)  # fmt: skip
#: Parameters of libpq and of its drivers that the bridge sets itself.
OWN = frozenset(("autocommit", "client_encoding", "prepare_threshold", "replication"))
#: The range of integer parameters.
_NUMBERS = {
    "connect_timeout": (1, 60),
    "keepalives": (0, 1),
    "keepalives_count": (0, 1000),
    "keepalives_idle": (0, 86_400),
    "keepalives_interval": (0, 86_400),
    "tcp_user_timeout": (0, 86_400_000),
}
#: The values of `target_session_attrs` that select a writable server, which a ledger requires.
_WRITABLE = ("read-write", "primary")

#: libpq accepts the first two.
_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")

_HOST = re.compile(r"(?P<host>\[[^\[\]]+\]|[^:\[\]]*)(:(?P<port>[0-9]*))?")
#: The similarity to a known name from which on a name is shown.
_NEAR = 0.75
_ENCODE = "special characters in its user, password and values must be percent-encoded (@ is %40, / is %2F, % is %25)"


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """A ledger in a file; `path` may be relative."""

    path: str


@dataclass(frozen=True, slots=True)
class PostgresDatabase:
    """A ledger in a database; `parameters` are libpq's, and contain the password."""

    parameters: Mapping[str, str] = field(repr=False)


def read_ledger_url(url: str) -> SqliteFile | PostgresDatabase:
    """Return the database of a ledger's URL.

    Raises:
        ValueError: the URL is not valid; the text names the parameter at fault, and no part of a value.

    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        return SqliteFile(_file(rest))
    if scheme in _POSTGRESQL:
        return PostgresDatabase(_postgresql(rest))
    raise ValueError("must begin with sqlite:/// or postgresql://")


def _file(rest: str) -> str:
    if not rest.startswith("/") or rest == "/" or ":memory:" in rest:
        raise ValueError("must name a file (sqlite:///path): a ledger in memory is lost at exit")
    if "?" in rest:
        raise ValueError("has a ? in the file name: a SQLite ledger has no parameters")
    return rest[1:]


def _postgresql(rest: str) -> dict[str, str]:
    if not rest.isprintable() or " " in rest:
        raise ValueError("has a space or an unprintable character; percent-encode it (a space is %20)")
    location, _, query = rest.partition("?")
    authority, _, database = location.partition("/")
    login, _, hosts = authority.rpartition("@")
    if "#" in rest or "@" in login + database + query:
        raise ValueError(_ENCODE)
    user, _, password = login.partition(":")
    given = {"user": _decoded(user), "password": _decoded(password), "dbname": _decoded(database)}
    parameters = {name: value for name, value in given.items() if value}
    asked: list[str] = []
    for name, value in _pairs(query):
        if name == "host":
            asked.append(value)
        elif name in parameters:
            raise ValueError(f"gives {name} twice")
        else:
            parameters[name] = value
    if asked and hosts:
        raise ValueError(
            "gives host twice, before the database name and as a parameter: write all hosts after the @, as in "
            "user@h1:5432,h2:5432/name"
        )
    placed = [(_decoded(host), port) for host, port in map(_with_port, hosts.split(","))]
    _set_hosts(parameters, _spelled(asked) if asked else placed)
    return parameters


def _pairs(query: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values of the parameters, each checked by itself."""
    for number, pair in enumerate(query.split("&") if query else (), 1):
        name, separator, text = pair.partition("=")
        if not separator:
            raise ValueError(f"has no = in its parameter number {number}; {_ENCODE}")
        _check_name(name, number)
        value = _decoded(text)
        if name in _NUMBERS:
            low, high = _NUMBERS[name]
            if not re.fullmatch("[0-9]{1,9}", value) or not low <= int(value) <= high:
                raise ValueError(f"{name} must be a whole number from {low} to {high}")
        if name == "target_session_attrs" and value not in _WRITABLE:
            raise ValueError(f"{name} must be {' or '.join(_WRITABLE)}: a ledger requires a writable server")
        yield name, value


def _check_name(name: str, number: int) -> None:
    if name in OWN:
        raise ValueError(f"must not have the parameter {name}: the bridge sets it")
    if name not in PARAMETERS:
        near = difflib.get_close_matches(name, PARAMETERS, n=1, cutoff=_NEAR)
        if near:
            raise ValueError(f"has the unknown parameter {name}; did you mean {near[0]}?")
        # Another name may be a part of a password and is not shown.
        raise ValueError(f"has the unknown parameter number {number}; {_ENCODE}")


def _spelled(asked: Sequence[str]) -> list[tuple[str, str]]:
    """Parse hosts given as parameters: libpq's list in one parameter, or SQLAlchemy's one host per parameter."""
    texts = asked[0].split(",") if len(asked) == 1 else asked
    # A socket's directory may contain a colon, and an IPv6 address needs no brackets here.
    return [
        (text, "") if text.startswith(("/", "@")) or _is_address(text) else _with_port(text) for text in texts
    ]


def _with_port(text: str) -> tuple[str, str]:
    """Return a host and its port, each empty if it is not given."""
    match = _HOST.fullmatch(text)
    if match is None or (text.startswith("[") and not _is_address(unquote(match["host"][1:-1]))):
        raise ValueError("has an invalid host: write host:port, or [address]:port for IPv6")
    _check_port(match["port"] or "")
    return match["host"].strip("[]"), match["port"] or ""


def _set_hosts(parameters: dict[str, str], named: Sequence[tuple[str, str]]) -> None:
    """Add libpq's lists of hosts and ports, which must have matching lengths."""
    hosts, ports = [host for host, _ in named], [port for _, port in named]
    if len(hosts) > 1 and not all(hosts):
        raise ValueError("has an empty host among several")
    if any(ports):
        if "port" in parameters:
            raise ValueError("gives port twice: after a host and as a parameter")
        parameters["port"] = ",".join(ports)
    if any(hosts):
        parameters["host"] = ",".join(hosts)
    _check_lists(parameters, len(hosts))


def _check_lists(parameters: Mapping[str, str], hosts: int) -> None:
    ports = parameters.get("port", "").split(",")
    for port in ports:
        _check_port(port)
    if len(ports) not in {1, hosts}:
        raise ValueError("port must have one number, or one for each host")
    if "hostaddr" in parameters:
        addresses = parameters["hostaddr"].split(",")
        if not all(map(_is_address, addresses)) or len(addresses) != hosts:
            raise ValueError("hostaddr must have an IP address for each host")


def _check_port(port: str) -> None:
    if port and not (re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65_536):
        raise ValueError("has a port that is not from 1 to 65535")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _decoded(text: str) -> str:
    if re.search("%(?![0-9A-Fa-f]{2})|%00", text):
        raise ValueError(_ENCODE)
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("has a percent-encoded text that is not UTF-8") from None
