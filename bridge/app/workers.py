"""`bridge worker`: one worker process, or several under a supervisor, which does not import the worker's modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.app.required import require

if TYPE_CHECKING:
    from bridge.settings import Settings


def run_worker(settings: Settings) -> int:
    """Run `worker.processes` worker processes until they are stopped; returns the exit code.

    Raises:
        SettingsError: the broker or the account is not configured.

    """
    require(settings, broker=True, account=True)
    if settings.worker.processes > 1:
        from bridge.app.supervisor import run_supervisor

        return run_supervisor(settings)
    from bridge.app.worker import run_alone

    return run_alone(settings)
