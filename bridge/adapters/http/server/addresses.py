"""The client of a request: its peer, or the address that our own proxies say that they passed it on for."""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

#: An address as some proxies write it: with a port, and then an IPv6 one in brackets.
_WITH_PORT = re.compile(r"(?:\[([^\[\]]+)\]|([0-9.]+))(?::[0-9]{1,5})?")


def client_of(peer: str | None, forwarded: Iterable[str], trusted: Sequence[Network]) -> Address | None:
    """Return the client, or None where no address can be trusted.

    Each proxy adds whom it heard from to the right end of `forwarded`, the values of `X-Forwarded-For` in their
    order; `peer` is whom we hear from. So the way is walked back from the peer for as long as it leads through
    `trusted`: what stands left of the first other address is that client's own word. Where a trusted proxy
    wrote no address, the client is unknown.
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
    """Read an address, one of IPv4 in IPv6's clothes too; which of our links it is reached by is left out."""
    found = _WITH_PORT.fullmatch(text.strip())
    bare = text.strip() if found is None else found[1] or found[2]
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
