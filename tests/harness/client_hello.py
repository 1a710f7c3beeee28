"""ClientHello messages of TLS 1.3, byte by byte, to offer what no client library would (RFC 8446 section 4.1.2)."""

from __future__ import annotations

import os

X25519, SECP256R1, FFDHE2048, FFDHE8192 = 0x001D, 0x0017, 0x0100, 0x0104
#: Bytes of a public key in each group.
_KEY_SIZES = {X25519: 32, FFDHE2048: 256, FFDHE8192: 1024}
#: The first byte of a record (RFC 8446 section 5.1).
ALERT, HANDSHAKE = b"\x15", b"\x16"


def client_hello(*groups: int, with_key: bool) -> bytes:
    """Return a record that offers these groups alone; `with_key` it brings a public key in the first of them."""
    offered = b"".join(group.to_bytes(2, "big") for group in groups)
    # Below every safe prime: the highest bit is clear, and so it is a valid public key.
    share = groups[0].to_bytes(2, "big") + _sized(b"\x3f" + os.urandom(_KEY_SIZES[groups[0]] - 1), 2)
    extensions = [
        (10, _sized(offered, 2)),
        (13, _sized(bytes.fromhex("0403080408050806050306030401"), 2)),
        (43, _sized(b"\x03\x04", 1)),
        (51, _sized(share if with_key else b"", 2)),
    ]
    body = b"".join(
        [
            b"\x03\x03",
            os.urandom(32),
            _sized(os.urandom(32), 1),
            _sized(b"\x13\x01\x13\x02\x13\x03", 2),
            _sized(b"\x00", 1),
            _sized(b"".join(kind.to_bytes(2, "big") + _sized(data, 2) for kind, data in extensions), 2),
        ]
    )
    return HANDSHAKE + b"\x03\x01" + _sized(b"\x01" + _sized(body, 3), 2)


def _sized(data: bytes, size: int) -> bytes:
    """Return `data` behind its length of `size` bytes."""
    return len(data).to_bytes(size, "big") + data
