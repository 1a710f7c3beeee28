"""The addresses that may connect, and the number of connections per address."""

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
    """The rules for clients' addresses, as the socket has them."""

    #: Networks of clients; empty: any address.
    allow: tuple[Network, ...] = ()
    #: Networks of proxies, which may connect without a limit.
    proxies: tuple[Network, ...] = ()
    #: Simultaneous connections of one address (`host_of`); 0: no limit.
    each: int = 0
    #: Called with the address of a connection that was closed because its address is not allowed.
    refused: Callable[[str], None] = _ignore

    def may_connect(self, peer: str | None) -> bool:
        """Return whether a client at this address could be allowed: as a client, or as a proxy."""
        return not self.allow or (peer is not None and _is_in(peer, (*self.allow, *self.proxies)))

    def limit(self, peer: str | None) -> int:
        """Return the number of connections that the address may have; 0: no limit."""
        if not self.each or peer is None:
            return 0
        return 0 if _is_in(peer, self.proxies) else self.each


def peer_of(transport: asyncio.BaseTransport) -> str | None:
    """Return the address of a connection's other end in its canonical form; None if it has none.

    On a socket for both families an IPv4 client has an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2).
    """
    peer = transport.get_extra_info("peername")
    return str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) else None


@lru_cache(maxsize=4096)
def host_of(peer: str | None) -> str | None:
    """Return the address that counts as one client: an IPv4 address, or the /64 of an IPv6 host (RFC 6177)."""
    address = None if peer is None else address_of(peer)
    if not isinstance(address, IPv6Address):
        return peer
    return str(IPv6Network((int(address), 64), strict=False))


@lru_cache(maxsize=4096)
def _is_in(peer: str, networks: tuple[Network, ...]) -> bool:
    address = address_of(peer)
    return address is not None and is_in(address, networks)
