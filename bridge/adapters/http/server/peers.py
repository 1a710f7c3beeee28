"""The addresses that may connect, and how many connections each may have at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from bridge.adapters.http.server.addresses import address_of, is_in

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from bridge.adapters.http.server.addresses import Network


def _ignore(peer: str) -> None:
    """Count nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """The rules for the other ends of connections; a peer is an address as the socket has it."""

    #: Networks of clients; empty: any address.
    allow: tuple[Network, ...] = ()
    #: Networks of proxies, which may always connect, as often as they like.
    proxies: tuple[Network, ...] = ()
    #: Connections of one address (`host_of`) at the same time; 0: any number.
    each: int = 0
    #: Given the address of a connection that was closed because its address is not allowed.
    refused: Callable[[str], None] = _ignore

    def may_connect(self, peer: str | None) -> bool:
        """Return whether a client at this address could ever be let in: itself, or what it passes on as a proxy."""
        return not self.allow or (peer is not None and _is_in(peer, (*self.allow, *self.proxies)))

    def limit(self, peer: str | None) -> int:
        """Return how many connections the address may have; 0: any number."""
        if not self.each or peer is None:
            return 0
        return 0 if _is_in(peer, self.proxies) else self.each


def peer_of(transport: asyncio.BaseTransport) -> str | None:
    """Return the address of a connection's other end, in one spelling; None where it has none.

    A client of IPv4 on a socket for both kinds has an address of IPv6 (RFC 4291 section 2.5.5.2).
    """
    peer = transport.get_extra_info("peername")
    return str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) else None


@lru_cache(maxsize=4096)
def host_of(peer: str | None) -> str | None:
    """Return what counts as one client: an address of IPv4, or the /64 that a host of IPv6 has to itself (RFC 6177)."""
    address = None if peer is None else address_of(peer)
    if not isinstance(address, IPv6Address):
        return peer
    return str(IPv6Network((int(address), 64), strict=False))


@lru_cache(maxsize=4096)
def _is_in(peer: str, networks: tuple[Network, ...]) -> bool:
    address = address_of(peer)
    return address is not None and is_in(address, networks)
