"""Builds each process from settings: the only room that knows every other one.

Each entry is imported when it is asked for: a command that publishes one message must not wait for a web server, a
database and the provider's client to load.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.bootstrap.ingest import run_ingest
    from bridge.bootstrap.oneshot import check_topology, cpaas_client, declare_topology, send, tail_events
    from bridge.bootstrap.simulator import run_simulator
    from bridge.bootstrap.up import run_up
    from bridge.bootstrap.worker import run_worker

__all__ = [
    "check_topology",
    "cpaas_client",
    "declare_topology",
    "run_ingest",
    "run_simulator",
    "run_up",
    "run_worker",
    "send",
    "tail_events",
]

#: The module of each entry.
_HOMES = {
    "check_topology": "oneshot",
    "cpaas_client": "oneshot",
    "declare_topology": "oneshot",
    "run_ingest": "ingest",
    "run_simulator": "simulator",
    "run_up": "up",
    "run_worker": "worker",
    "send": "oneshot",
    "tail_events": "oneshot",
}


def __getattr__(name: str) -> object:
    """Import an entry when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    entry: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return entry
