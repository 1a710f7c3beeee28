"""The spool: a directory with one SQLite database, for what the broker can't take right now.

SQLite knows how to append, sync, and come back from a crash in the middle of it; a format of our own would have to
learn that. This package adds a checksum for each event, and quarantine and recovery of a damaged file.
"""

from __future__ import annotations

from bridge.adapters.spool.damaged import read_damaged
from bridge.adapters.spool.database import rename
from bridge.adapters.spool.sqlite import open_spool

__all__ = ["open_spool", "read_damaged", "rename"]
