"""The `Idempotency-Key` header: what a command is known by, beside its body.

draft-ietf-httpapi-idempotency-key-header-07 section 2.1 has it a string of RFC 9651: in quotes. Most clients that there
are leave the quotes away, so both are understood.
"""

from __future__ import annotations

import re

from bridge.domain.contracts.commands import MAX_ID_LENGTH

HEADER = b"idempotency-key"

#: RFC 9651 section 3.3.3: printable ASCII, with a backslash before quotes and backslashes.
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
#: Nothing in it that could end a string or a list: two headers of this name are one value with a comma.
_BARE = re.compile(r"[!#-+\--:<-\[\]-~]+")
_ESCAPED = re.compile(r'\\(["\\])')


def read_key(value: bytes) -> str | None:
    """Return the key that a header names; None where it names none, or more than one, or one that no command has."""
    text = value.decode("latin-1").strip(" \t")
    quoted = _QUOTED.fullmatch(text)
    if quoted is None and _BARE.fullmatch(text) is None:
        return None
    key = text if quoted is None else _ESCAPED.sub(r"\1", quoted[1])
    return key if 1 <= len(key) <= MAX_ID_LENGTH else None
