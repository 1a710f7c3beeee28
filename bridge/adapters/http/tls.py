"""A certificate and its key, looked at before anybody is served with them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path


class CertificateUnusable(Exception):
    """Nobody can be served with these files; the message names the one at fault and why."""

    def __init__(self, part: Literal["certificate", "key"], message: str) -> None:
        super().__init__(message)
        self.part = part


#: For TLS 1.2. Those of 1.3 are all good.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def server_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """Return what to serve with. Without `key`, it stands in the certificate's file; both are PEM.

    Raises:
        CertificateUnusable: they can't, or do not. A key with a passphrase can't be read: nobody is there to ask.

    """
    _open("certificate", certificate)
    if key is not None:
        _open("key", key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    try:
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as e:
        where = f"{certificate}" if key is None else f"{certificate} with {key}"
        reason = (e.reason or "PEM expected").replace("_", " ").lower()
        raise CertificateUnusable(
            "certificate", f"{where} is no certificate with its key, unencrypted ({reason})"
        ) from e
    return context


def _open(part: Literal["certificate", "key"], path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as e:
        raise CertificateUnusable(part, f"{path} can't be read: {e.strerror}") from e
