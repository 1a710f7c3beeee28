"""Normal forms of hosts, paths and networks, with which requests are compared. Each function is idempotent."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote, unquote

from bridge.domain.hosts import is_host_name

#: Characters of addresses alone: refuses names of digits, and old spellings that mean another address.
_DIGITS = re.compile(r"[0-9.]+", re.ASCII)
#: Characters that a path may contain unescaped (RFC 3986 section 3.3).
_PLAIN = "/:@!$&'()*+,;=-._~"
#: Characters of a path; the head of a request has 16 KiB at most.
_LONGEST_PATH = 2048
_NO_HOST = "must be an address or a name, without a port"


def host(value: str) -> str:
    """Return a host to listen on: an address without brackets, an IPv4-mapped one as IPv4, or a name.

    Raises:
        ValueError: it is neither.

    """
    bare = (value[1:-1] if value.startswith("[") and value.endswith("]") and ":" in value else value).lower()
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        if ":" in bare or _DIGITS.fullmatch(bare) or not is_host_name(bare):
            raise ValueError(_NO_HOST) from None
        return bare
    return str(getattr(address, "ipv4_mapped", None) or address)


def path(value: str) -> str:
    """Return a path as clients send it, percent-encoded as UTF-8.

    Raises:
        ValueError: no client can request such a path.

    """
    try:
        plain = unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("must be percent-encoded UTF-8") from None
    if not plain.startswith("/") or "?" in value or "#" in value:
        raise ValueError("must begin with / and have neither ? nor #")
    if not plain.isprintable() or "\\" in plain or len(plain) > _LONGEST_PATH:
        raise ValueError(f"must have at most {_LONGEST_PATH} characters, all printable, and no backslash")
    if plain.startswith("//") or {".", ".."} & set(plain.split("/")):
        raise ValueError("must not have . or .. between slashes and not begin with //: clients remove them")
    return quote(plain, safe=_PLAIN)


def network(value: str) -> str:
    """Return a network in CIDR notation; an IPv4-mapped one becomes IPv4, as clients' addresses do.

    Raises:
        ValueError: it is not a network.

    """
    try:
        found = ipaddress.ip_network(value)
    except ValueError:
        raise ValueError(
            "must be an address, or a network without host bits, such as 203.0.113.0/24"
        ) from None
    if not isinstance(found, ipaddress.IPv6Network):
        return str(found)
    if "%" in value:
        raise ValueError("must not have a zone (%...): clients are compared without one")
    mapped = found.network_address.ipv4_mapped
    if mapped is not None and found.prefixlen >= 96:
        return f"{mapped}/{found.prefixlen - 96}"
    return str(found)
