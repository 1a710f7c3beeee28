"""Checks of host names and addresses."""

from __future__ import annotations

import ipaddress
import re

#: RFC 1123 section 2.1, with the underscore that container networks use, and an optional final dot.
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")


def is_host_name(text: str) -> bool:
    """Return whether a text has the form of a host name or of an IPv4 address."""
    return _NAME.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """Return whether a text is a host name or an address, an IPv6 address without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return is_host_name(text)
    return True


def is_loopback(host: str) -> bool:
    """Return whether `host` (an address, or `localhost`) is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
