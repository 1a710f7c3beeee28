"""Which hosts are this machine alone."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach what listens on `host`: an address, or `localhost`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def host_of(field: str) -> str:
    """Return the host of a Host header field, without its port (RFC 9110 section 7.2)."""
    host, colon, port = field.rpartition(":")
    return host if colon and (port.isdigit() or not port) else field
