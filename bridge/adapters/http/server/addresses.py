"""The client of a request: its peer, or the address that trusted proxies report."""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

#: An address with a port, as some proxies write it; an IPv6 address is in brackets then.
_WITH_PORT = re.compile(r"(?:\[([^\[\]]+)\]|([0-9.]+))(?::[0-9]{1,5})?")


def client_of(peer: str | None, forwarded: Iterable[str], trusted: Sequence[Network]) -> Address | None:
    """Return the client's address; None if no address can be trusted.

    `peer` is the other end of the connection. Each proxy appends its own peer to `forwarded`, the values of
    `X-Forwarded-For` in order. The list is read from the right as long as the addresses are in `trusted`. The first
    other address is the client; the entries left of it are only the client's claim. If a trusted proxy wrote no
    address, the client is unknown.
    """
    client = address_of(peer or "")
    hops = [hop for value in forwarded for hop in value.split(",") if hop.strip()]
    while hops and client is not None and is_in(client, trusted):
        client = address_of(hops.pop())
    return client


def is_in(address: Address, networks: Iterable[Network]) -> bool:
    """Return whether one of `networks` has `address`."""
    return any(address in network for network in networks)


def address_of(text: str) -> Address | None:
    """Read an address, also an IPv4-mapped IPv6 one; the zone (network interface) is dropped."""
    found = _WITH_PORT.fullmatch(text.strip())
    bare = text.strip() if found is None else found[1] or found[2]
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
