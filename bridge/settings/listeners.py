"""Hosts, paths and networks, each in the one spelling that requests are compared with. All of it can be done twice."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote, unquote

from bridge.domain.hosts import is_host_name

#: Characters of addresses alone: refuses names of digits, and addresses in old spellings that mean others.
_DIGITS = re.compile(r"[0-9.]+", re.ASCII)
#: Stay as they are in a path (RFC 3986 section 3.3).
_PLAIN = "/:@!$&'()*+,;=-._~"
#: Characters of a path; a request's whole head is 16 KiB.
_LONGEST_PATH = 2048
_NO_HOST = "must be an address or a name, without a port"


def host(value: str) -> str:
    """Return a host to listen on: an address without brackets, IPv4 in its own form, or a name.

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
    """Return a path as clients write it: percent-encoded UTF-8 where it has to be.

    Raises:
        ValueError: no client asks for such a path.

    """
    try:
        plain = unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("must be percent-encoded UTF-8") from None
    if not plain.startswith("/") or "?" in value or "#" in value:
        raise ValueError("must begin with / and have neither ? nor #")
    if not plain.isprintable() or "\\" in plain or len(plain) > _LONGEST_PATH:
        raise ValueError(f"must have printable characters, no backslash, and {_LONGEST_PATH} of them at most")
    if plain.startswith("//") or {".", ".."} & set(plain.split("/")):
        raise ValueError(
            "must have no . or .. between slashes and not begin with //: clients fold those away"
        )
    return quote(plain, safe=_PLAIN)


def network(value: str) -> str:
    """Return a network in CIDR notation, one of IPv4 in IPv6 as that of IPv4 that clients are compared with.

    Raises:
        ValueError: it is no network.

    """
    try:
        found = ipaddress.ip_network(value)
    except ValueError:
        raise ValueError(
            "must be an address, or a network with nothing behind its prefix, such as 203.0.113.0/24"
        ) from None
    if not isinstance(found, ipaddress.IPv6Network):
        return str(found)
    if "%" in value:
        raise ValueError("must have no interface behind a %: clients are compared without one")
    mapped = found.network_address.ipv4_mapped
    if mapped is not None and found.prefixlen >= 96:
        return f"{mapped}/{found.prefixlen - 96}"
    return str(found)
