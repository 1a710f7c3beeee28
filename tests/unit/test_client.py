"""The client of a request, by its peer and the headers of proxies."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.http.server.addresses import client_of, is_in

#: Two proxies in a row, and one that is reached by IPv6.
TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
PROXY, UNTRUSTED, CLIENT = "10.0.0.1", "203.0.113.9", "198.51.100.7"


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        # No header.
        (CLIENT, [], CLIENT),
        (PROXY, [], PROXY),
        (PROXY, [""], PROXY),
        (PROXY, [" , ,"], PROXY),
        # A header from an untrusted peer.
        (UNTRUSTED, [CLIENT], UNTRUSTED),
        (UNTRUSTED, ["10.0.0.2"], UNTRUSTED),
        # One proxy, and one behind it.
        (PROXY, [CLIENT], CLIENT),
        (PROXY, [f"{CLIENT}, 10.0.0.2"], CLIENT),
        (PROXY, [f"{CLIENT},10.0.0.2,  fd00::1"], CLIENT),
        ("fd00::1", [CLIENT], CLIENT),
        # Values that the client itself sent are on the left.
        (PROXY, [f"{CLIENT}, {UNTRUSTED}"], UNTRUSTED),
        (PROXY, [f"10.0.0.3, {UNTRUSTED}, 10.0.0.2"], UNTRUSTED),
        (PROXY, [f"rubbish, {UNTRUSTED}"], UNTRUSTED),
        # A header for each proxy is one list.
        (PROXY, [CLIENT, "10.0.0.2"], CLIENT),
        (PROXY, [CLIENT, UNTRUSTED], UNTRUSTED),
        (PROXY, [UNTRUSTED, CLIENT, ""], CLIENT),
        # All are trusted proxies: one of them is the client.
        (PROXY, ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        # Notations of addresses.
        (PROXY, [f"{CLIENT}:50001"], CLIENT),
        (PROXY, ["2001:DB8:0::7"], "2001:db8::7"),
        (PROXY, ["[2001:db8::7]"], "2001:db8::7"),
        (PROXY, ["[2001:db8::7]:50001"], "2001:db8::7"),
        (PROXY, [f"::ffff:{CLIENT}"], CLIENT),
        (f"::ffff:{PROXY}", [CLIENT], CLIENT),
        ("fe80::1%eth0", [], "fe80::1"),
        # Written by a trusted proxy, and not an address.
        (PROXY, ["unknown"], None),
        (PROXY, ["_hidden"], None),
        (PROXY, [f"{CLIENT}, unknown"], None),
        (PROXY, [f"{CLIENT}, rubbish, 10.0.0.2"], None),
        (PROXY, ["198.51.100"], None),
        (PROXY, ["198.51.100.007"], None),
        (PROXY, ["198.51.100.7/24"], None),
        (PROXY, ["198.51.100.7:port"], None),
        (PROXY, ["2001:db8::7::1"], None),
        (PROXY, ["[2001:db8::7"], None),
        (PROXY, [f'"{CLIENT}"'], None),
        (PROXY, [f"for={CLIENT}"], None),
        (PROXY, ["\u0661\u0669\u0668.51.100.7"], None),
        (PROXY, ["3325256711"], None),
        # No peer: not from a network.
        (None, [CLIENT], None),
        ("", [CLIENT], None),
    ],
)
def test_client_is_the_rightmost_address_that_is_not_a_trusted_proxy(
    peer: str | None, forwarded: list[str], client: str | None
) -> None:
    found = client_of(peer, forwarded, TRUSTED)

    assert found == (None if client is None else ip_address(client))


@given(forwarded=st.lists(st.text(), max_size=3))
def test_only_the_peer_counts_without_trusted_proxies(forwarded: list[str]) -> None:
    assert client_of(PROXY, forwarded, []) == ip_address(PROXY)


@given(
    left=st.lists(st.text(alphabet=st.characters(max_codepoint=255)), max_size=3), client=st.ip_addresses()
)
def test_client_cannot_change_its_address_with_headers(left: list[str], client: object) -> None:
    found = client_of(PROXY, [*left, f"{client}, 10.0.0.2"], TRUSTED)
    alone = client_of(PROXY, [f"{client}, 10.0.0.2"], TRUSTED)

    assert alone is not None
    assert found == alone or is_in(alone, TRUSTED)


@given(forwarded=st.text())
def test_client_is_always_an_address(forwarded: str) -> None:
    found = client_of(PROXY, [forwarded], TRUSTED)

    assert found is None or ip_address(str(found)) == found
