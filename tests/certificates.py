"""Certificates for the loopback that nobody vouches for, made by OpenSSL's own tool."""

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
