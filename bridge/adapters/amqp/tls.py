"""TLS to the broker: certificates are checked as HTTPS does, and errors say which one is wrong and what to do."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bridge.domain.errors import BridgeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.domain.broker_url import BrokerNode, Tls

#: OpenSSL's codes (X509_V_ERR_…, openssl-verification-options(1)) of what an operator meets, and what to do.
_ADVICE = {
    **dict.fromkeys((9,), "is this machine's clock right?"),
    **dict.fromkeys((10,), "renew the broker's certificate"),
    **dict.fromkeys(
        (18, 19, 20, 21), "set ca_file to the certificate of the authority that signed the broker's"
    ),
    **dict.fromkeys(
        (62, 64),
        "connect to a name that the certificate has, or give that name as server_name_indication",
    ),
}
#: Reasons of OpenSSL when the other side does not accept our certificate, or misses one (RFC 8446 section 6.2).
_OURS_REFUSED = (
    "CERTIFICATE_REQUIRED",
    "BAD_CERTIFICATE",
    "UNKNOWN_CA",
    "CERTIFICATE_UNKNOWN",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REVOKED",
    "UNSUPPORTED_CERTIFICATE",
)


class TlsFileUnusable(BridgeError):
    """A file for TLS can't be used; `part` is which one, and the message why."""

    def __init__(self, part: Literal["ca_file", "certificate", "key"], message: str) -> None:
        super().__init__(message)
        self.part = part


def client_context(tls: Tls) -> ssl.SSLContext:
    """Return what to connect with: TLS 1.2 and later, the system's authorities unless a file names others.

    Raises:
        TlsFileUnusable: a file can't be read or holds something else. A key with a passphrase can't be read either:
            no process could ask for it.

    """
    files = tls.files
    if files.ca_file is not None:
        _open("ca_file", files.ca_file)
    try:
        context = ssl.create_default_context(cafile=files.ca_file)
    except ssl.SSLError as e:
        raise TlsFileUnusable("ca_file", "holds no certificates in PEM") from e
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if files.certificate is not None:
        _load_own(context, files.certificate, files.key)
    return context


def check_files(nodes: Iterable[BrokerNode]) -> None:
    """Read the files that encrypted connections to these addresses need.

    Raises:
        TlsFileUnusable: one can't be used.

    """
    for node in nodes:
        if node.tls is not None:
            client_context(node.tls)


def _load_own(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    _open("certificate", certificate)
    if key is not None:
        _open("key", key)
    try:
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as e:
        reason = (e.reason or "PEM expected").replace("_", " ").lower()
        raise TlsFileUnusable(
            "certificate", f"holds no certificate with its key, unencrypted ({reason})"
        ) from e


def explained(error: ssl.SSLError) -> tuple[str, bool]:
    """Return why a TLS connection was not made and what to do, and whether trying again is of no use."""
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = _ADVICE.get(error.verify_code)
        reason = f"its certificate is not accepted: {error.verify_message.rstrip('.')}"
        return (f"{reason}; {advice}" if advice else reason), True
    reason = error.reason or str(error)
    if any(words in reason for words in _OURS_REFUSED):
        said = reason.replace("_", " ").lower()
        return f"it does not accept our certificate ({said}): set certificate and key to what it trusts", True
    if reason in {"WRONG_VERSION_NUMBER", "UNEXPECTED_MESSAGE"}:
        return "what answers there does not speak TLS: use its port for amqps://, 5671 by default", False
    return reason.replace("_", " ").lower(), False


def _open(part: Literal["ca_file", "certificate", "key"], path: str) -> None:
    try:
        Path(path).open("rb").close()
    except (OSError, ValueError) as e:
        raise TlsFileUnusable(part, f"can't be read: {getattr(e, 'strerror', None) or e}") from e
