"""The provider account and the limits of each call to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class CpaasAccount:
    """The provider's address, the credentials, and the limits of a call and its response.

    Raises:
        ValueError: the base URL is not a plain http(s) URL, or the credentials are incomplete.

    """

    #: Scheme, host and an optional path in front of ``/cpaas`` (wire reference 1).
    base_url: str
    #: The private project key, or the client id of an account.
    client_id: str
    #: Project credentials: ``grant_type=client_credentials`` (wire reference 2.1).
    client_secret: str | None = field(default=None, repr=False)
    #: Account credentials: ``grant_type=password``. With both kinds the secret is used.
    email: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    #: Seconds for a connection, its TLS handshake, and each wait of a write.
    connect_timeout: float = 3.0
    #: Seconds without a byte of the response.
    read_timeout: float = 10.0
    #: Seconds for a whole call. After that the call counts as unanswered.
    total_timeout: float = 15.0
    #: Seconds after which an idle connection is not used again: the provider may be closing it.
    idle_timeout: float = 4.0
    #: Bytes of a response's body, compressed or not.
    max_response_bytes: int = 1024 * 1024
    #: Bytes of a response's status line and headers.
    max_header_bytes: int = 64 * 1024

    #: ``http://[user:password@]host:port``. Proxies of the environment are ignored.
    proxy: str | None = field(default=None, repr=False)
    #: A file or directory of CA certificates instead of the bundled ones.
    ca_file: str | None = None

    #: The ``clientCorrelator`` of this instance's requests (wire reference 5).
    correlator: str = "sms-bridge"
    #: ``command``: a separate correlator for each submission, for providers that drop a repeated one.
    correlator_mode: Literal["instance", "command"] = "instance"

    def __post_init__(self) -> None:
        """Refuse unusable values before the first call."""
        url = urlsplit(self.base_url)
        if (
            url.scheme not in {"http", "https"}
            or not url.hostname
            or url.username
            or url.query
            or url.fragment
        ):
            raise ValueError("base_url must be http(s)://host[:port][/path]")
        if self.client_secret is None and (self.email is None or self.password is None):
            raise ValueError("set client_secret, or email and password")
