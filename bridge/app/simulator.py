"""The simulator's process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.app.listener import CannotListen
from bridge.ops import logs
from bridge.ops.shutdown import Stopping
from bridge.simulator import Simulator
from bridge.simulator.settings import SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bridge.settings import Settings


def run_simulator(
    settings: Settings,
    *,
    host: str,
    port: int,
    journal: Path | None,
    numbers: Sequence[str],
    external_webhooks: bool,
) -> int:
    """Serve the provider's API until stopped; returns the exit code.

    Raises:
        CannotListen: the port can't be opened.

    """
    logs.configure(settings.log)
    chosen: dict[str, Any] = {"journal": journal, "external_webhooks": external_webhooks}
    if numbers:
        chosen["numbers"] = tuple(numbers)
    stopping = Stopping()
    stopping.install()
    try:
        Simulator(SimulatorSettings(**chosen)).serve(host, port, stopping.event)
    except OSError as e:
        if e.filename is not None:  # the journal's
            raise
        raise CannotListen(host, port, e, "--host and --port") from e
    return 0
