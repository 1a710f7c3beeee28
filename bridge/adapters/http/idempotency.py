"""The `Idempotency-Key` header, which identifies a command besides its body.

In draft-ietf-httpapi-idempotency-key-header-07 section 2.1 it is a string of RFC 9651, in quotes. Most existing clients
omit the quotes, so both forms are accepted.
"""

from __future__ import annotations

import re

from bridge.domain.contracts.commands import MAX_ID_LENGTH

HEADER = b"idempotency-key"

#: RFC 9651 section 3.3.3: printable ASCII, with a backslash before quotes and backslashes.
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
#: Without characters that could end a string or a list: two headers of this name are one value with a comma.
_BARE = re.compile(r"[!#-+\--:<-\[\]-~]+")
_ESCAPED = re.compile(r'\\(["\\])')


def read_key(value: bytes) -> str | None:
    """Return the key in a header; None for no key, several keys, or one that no command can have."""
    text = value.decode("latin-1").strip(" \t")
    quoted = _QUOTED.fullmatch(text)
    if quoted is None and _BARE.fullmatch(text) is None:
        return None
    key = text if quoted is None else _ESCAPED.sub(r"\1", quoted[1])
    return key if 1 <= len(key) <= MAX_ID_LENGTH else None
