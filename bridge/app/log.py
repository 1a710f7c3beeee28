"""Log configuration of a process, from its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.ops import logs
from bridge.settings.hosts import configured_hosts

if TYPE_CHECKING:
    from bridge.settings import Settings


def configure_log(settings: Settings, *, process: int | None = None) -> None:
    """Configure the log; `process` is the number of this process if several write to one log."""
    logs.configure(settings.log, process=process, hosts=configured_hosts(settings))
