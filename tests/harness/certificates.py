"""Certificates for the loopback, made by OpenSSL's own tool: self-signed, or by an authority of the tests' own."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make_certificate(directory: Path, *, passphrase: str | None = None) -> tuple[Path, Path]:
    """Make a self-signed certificate for 127.0.0.1 in `directory`, and its key; return both files, in PEM."""
    certificate, key = directory / "cert.pem", directory / "key.pem"
    protection = ["-nodes"] if passphrase is None else ["-passout", f"pass:{passphrase}"]
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", *protection,
            "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", key, "-out", certificate,
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key


class Authority:
    """Signs certificates that nothing trusts but what is given its own, `certificate`."""

    def __init__(self, directory: Path) -> None:
        """Keep all files in `directory`, which is made."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.certificate, self._key = directory / "ca.pem", directory / "ca.key"
        _openssl(
            "req", "-x509", *_NEW_KEY, "-days", "2", "-subj", "/CN=authority",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout", self._key, "-out", self.certificate,
        )  # fmt: skip

    def issue(self, name: str, *, names: str = "", passphrase: str | None = None) -> tuple[Path, Path]:
        """Issue a certificate with the common name `name` and its key; return both files, in PEM.

        `names` is its subjectAltName as OpenSSL has it, `DNS:localhost`; none: for a client.
        """
        request, certificate, key = (self._directory / f"{name}.{kind}" for kind in ("csr", "pem", "key"))
        extensions = self._directory / f"{name}.ext"
        extensions.write_text(
            "basicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"
            + (f"subjectAltName={names}\n" if names else "extendedKeyUsage=clientAuth\n")
        )
        protection = [] if passphrase is None else ["-passout", f"pass:{passphrase}"]
        new_key = [word for word in _NEW_KEY if word != "-nodes" or passphrase is None]
        _openssl("req", *new_key, *protection, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
            "-days", "2", "-extfile", extensions, "-out", certificate,
        )  # fmt: skip
        return certificate, key


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
