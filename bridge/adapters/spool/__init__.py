"""The spool: a directory with one SQLite database for events that the broker can't take at the moment.

SQLite provides appending, syncing and recovery after a crash. This package adds a checksum for each event, and
quarantine and recovery of a damaged file.
"""

from __future__ import annotations

from bridge.adapters.spool.damaged import read_damaged
from bridge.adapters.spool.database import is_linked, rename
from bridge.adapters.spool.directory import is_quarantined, quarantined_in
from bridge.adapters.spool.sqlite import open_spool

__all__ = ["is_linked", "is_quarantined", "open_spool", "quarantined_in", "read_damaged", "rename"]
