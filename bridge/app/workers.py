"""One worker process, or several and their supervisor, which loads nothing of what they work with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.app.required import require

if TYPE_CHECKING:
    from bridge.settings import Settings


def run_worker(settings: Settings) -> int:
    """Run a worker until it is stopped, of `worker.processes` processes; returns the exit code.

    Raises:
        SettingsError: the broker or the account is not configured.

    """
    require(settings, broker=True, account=True)
    if settings.worker.processes > 1:
        from bridge.app.supervisor import run_supervisor

        return run_supervisor(settings)
    from bridge.app.worker import run_alone

    return run_alone(settings)
