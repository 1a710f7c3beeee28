"""Priorities for systemd's journal: a line on stderr that begins with ``<3>`` has priority 3 there (sd-daemon(3)).

Without them every line has priority 6, and ``journalctl -p warning`` shows nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The priorities of syslog (RFC 5424 section 6.2.1) for the levels of structlog.
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


def is_journal(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `stream` goes to the journal: systemd names device and inode of its socket (systemd.exec(5))."""
    named = environ.get("JOURNAL_STREAM")
    if not named:
        return False
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{found.st_dev}:{found.st_ino}"


def with_priority(level: str, text: str) -> str:
    """Return `text` with the priority before each line, because the journal makes an entry of each line."""
    prefix = f"<{_PRIORITIES.get(level, 6)}>"
    return "\n".join(prefix + line for line in text.split("\n"))
