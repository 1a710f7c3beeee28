"""What must never be read along: planted wherever it can come in, and looked for in all that comes out."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: In every text, secret, token and password: no word of ours or of a library's.
MARK = "zugvogel"
#: Numbers of strangers, in E.164.
NUMBERS = ("+14185550173", "+15145550184", "+19025550195")
TEXT = f"{MARK} flies at noon"
SECRETS = {
    name: f"{MARK}-{name}"
    for name in ("client", "account", "broker", "ledger", "webhook", "token", "metadata")
}


def _in_base64(value: str) -> Iterator[str]:
    """Yield what base64 makes of `value` wherever it begins in what was encoded."""
    for before in range(3):
        encoded = base64.b64encode(b" " * before + value.encode() + b"  ").decode()
        # Without the characters at either end that have bits of its neighbours.
        yield encoded[-(-before * 8 // 6) : (before + len(value)) * 8 // 6]


_SECRET = re.compile(
    "|".join([MARK, *(re.escape(encoded) for value in SECRETS.values() for encoded in _in_base64(value))]),
    re.IGNORECASE,
)
#: The simulator's tokens are JWTs.
_TOKEN = re.compile(r"\beyJ[\w-]{10,}")
#: A number's ten national digits, however they are grouped.
_NUMBER = re.compile(
    "|".join(rf"{number[2:5]}\D{{0,3}}{number[5:8]}\D{{0,3}}{number[8:]}" for number in NUMBERS)
)


def leaks(text: str) -> list[str]:
    """Return each line of `text` that tells of something planted."""
    return [
        line
        for line in text.splitlines()
        if any(pattern.search(line) for pattern in (_SECRET, _TOKEN, _NUMBER))
    ]


def command_lines(group: int) -> str:
    """Return the command lines, and so the arguments, of all processes of a group, one a line."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            stat = (process / "stat").read_text().rpartition(")")[2].split()
            if process.name.isdigit() and int(stat[2]) == group:
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except (OSError, IndexError):
            continue
    return "\n".join(found)
