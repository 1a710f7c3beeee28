"""Builds each process from settings: the only room that knows every other one.

Each entry is imported when it is asked for: a command that publishes one message must not wait for a web server, a
database and the provider's client to load.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.app.backfill import run_catch_up
    from bridge.app.dead import dead_letters, purge_dead, replay_dead
    from bridge.app.doctor import examine_all
    from bridge.app.ingest import run_ingest
    from bridge.app.ledger import adopt_ledger, migrate_ledger, prune_ledger, show_command, show_ledger
    from bridge.app.members import check_members
    from bridge.app.oneshot import (
        check_topology,
        cpaas_client,
        declare_topology,
        message_history,
        refusals,
        send,
        tail_events,
        waiting_commands,
    )
    from bridge.app.simulator import run_simulator
    from bridge.app.subscriptions import declared_subscriptions
    from bridge.app.surroundings import unusable_here
    from bridge.app.up import run_up
    from bridge.app.workers import run_worker

__all__ = [
    "adopt_ledger",
    "check_members",
    "check_topology",
    "cpaas_client",
    "dead_letters",
    "declare_topology",
    "declared_subscriptions",
    "examine_all",
    "message_history",
    "migrate_ledger",
    "prune_ledger",
    "purge_dead",
    "refusals",
    "replay_dead",
    "run_catch_up",
    "run_ingest",
    "run_simulator",
    "run_up",
    "run_worker",
    "send",
    "show_command",
    "show_ledger",
    "tail_events",
    "unusable_here",
    "waiting_commands",
]

#: The module of each entry.
_HOMES = {
    "adopt_ledger": "ledger",
    "check_members": "members",
    "check_topology": "oneshot",
    "cpaas_client": "oneshot",
    "dead_letters": "dead",
    "declare_topology": "oneshot",
    "declared_subscriptions": "subscriptions",
    "examine_all": "doctor",
    "message_history": "oneshot",
    "migrate_ledger": "ledger",
    "prune_ledger": "ledger",
    "purge_dead": "dead",
    "refusals": "oneshot",
    "replay_dead": "dead",
    "run_catch_up": "backfill",
    "run_ingest": "ingest",
    "run_simulator": "simulator",
    "run_up": "up",
    "run_worker": "workers",
    "send": "oneshot",
    "show_command": "ledger",
    "show_ledger": "ledger",
    "tail_events": "oneshot",
    "unusable_here": "surroundings",
    "waiting_commands": "oneshot",
}


def __getattr__(name: str) -> object:
    """Import an entry when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    entry: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return entry
