"""Write permissions of files and directories."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def others_can_write(path: Path) -> bool:
    """Return whether every user of the machine may write to the file or directory; False if it does not exist."""
    try:
        return bool(path.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return False
