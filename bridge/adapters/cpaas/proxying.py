"""The HTTP proxy on the way to the provider: its address and its credentials."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, its credentials apart from its place."""

    #: Scheme, host and port alone.
    url: str
    #: Host and port, as they may be shown.
    place: str
    #: Headers for each request, or for the one that asks for a tunnel.
    headers: Mapping[str, str] = field(repr=False)


def read_proxy(url: str) -> Proxy:
    """Return the proxy that `url` names: `http://[user:password@]host[:port]`.

    User and password are percent-encoded UTF-8, and are sent as such (RFC 7617 section 2.1).
    """
    parts = urlsplit(url)
    credentials, has_credentials, place = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    headers = {}
    if has_credentials:
        pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return Proxy(f"{parts.scheme}://{place}", f"{host}:{parts.port or _PORTS[parts.scheme]}", headers)
