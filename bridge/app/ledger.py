"""Use cases of `bridge ledger`."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from bridge.adapters.clock import SystemClock
from bridge.adapters.store import open_ledger, open_seen, read_ledger
from bridge.adapters.store.tables import REVISION
from bridge.app import parts
from bridge.app.required import require
from bridge.domain.events import rfc3339
from bridge.domain.shown_commands import to_operators
from bridge.ports import unwatched

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.ports import Progress
    from bridge.settings import Settings

DAY = 86400.0


def require_ledger(settings: Settings) -> None:
    """Check that the ledger exists, because opening a ledger at a mistyped path would create one.

    Raises:
        LedgerUnavailable: the ledger does not exist or can't be read.

    """
    with closing(read_ledger(_url(settings))) as reader:
        reader.check()


def show_ledger(settings: Settings) -> Mapping[str, Any]:
    """Return a summary of the ledger.

    Raises:
        LedgerUnavailable: the ledger does not exist or can't be read.

    """
    reader = read_ledger(_url(settings))
    try:
        summary = reader.summary()
    finally:
        reader.close()
    return {
        "identity": summary.identity,
        "revision": summary.revision,
        "lineage": None if summary.lineage is None else str(summary.lineage),
        "restored_at": _time(summary.restored_at),
        "commands": summary.commands,
        "submissions": dict(sorted(summary.states.items())),
        "oldest_open_at": _time(summary.oldest_open_at),
    }


def show_command(settings: Settings, command_id: str) -> Mapping[str, Any] | None:
    """Return the record of a command; None if the ledger has no command with this id.

    Raises:
        LedgerUnavailable: the ledger does not exist or can't be read.

    """
    reader = read_ledger(_url(settings))
    try:
        record = reader.command(command_id)
    finally:
        reader.close()
    return None if record is None else to_operators(record)


def prune_ledger(
    settings: Settings, *, days: float | None, dry_run: bool, progress: Progress = unwatched
) -> int:
    """Delete commands that ended more than `days` ago, or `ledger.retention`; returns their number, also in a dry run.

    Notifications of that age are deleted too, without being counted; `progress` counts commands.

    Raises:
        LedgerUnavailable: the ledger does not exist or can't be changed.

    """
    age = settings.ledger.retention if days is None else days * DAY
    before = SystemClock().now() - age
    reader = read_ledger(_url(settings))
    try:
        prunable = reader.prunable(before)
    finally:
        reader.close()
    if dry_run:
        return prunable
    forgotten = 0
    with closing(open_ledger(_url(settings))) as ledger, closing(open_seen(_url(settings))) as seen:
        while some := ledger.prune(before):
            forgotten += some
            progress(forgotten, prunable)
        while seen.prune(before):
            pass
    return forgotten


def migrate_ledger(settings: Settings) -> tuple[str | None, str]:
    """Migrate the ledger's tables; returns their previous revision (None for a new ledger) and the present one.

    Raises:
        LedgerUnavailable: the ledger can't be reached, or belongs to another version of the bridge.

    """
    ledger = open_ledger(_url(settings))
    ledger.close()
    return ledger.revision_before, REVISION


def adopt_ledger(settings: Settings) -> str:
    """Bind the configured ledger to the command queue; returns its new identity.

    Raises:
        LedgerUnavailable: the ledger does not exist or can't be opened.
        ConnectionError: the broker is not reachable.
        QueueInUse: workers consume the queue.

    """
    from bridge.adapters.amqp.adoption import adopt
    from bridge.adapters.store.facts import new_identity
    from bridge.app import command_client

    require(settings, broker=True)
    # A ledger that is created at a mistyped path would be bound to the queue, and be empty.
    require_ledger(settings)
    with closing(open_ledger(_url(settings))) as ledger:

        def record(is_backup: bool) -> None:  # noqa: FBT001 - called with what was found
            ledger.lineages.adopt(
                ledger.time() or SystemClock().now(),
                is_backup=is_backup,
                max_age=command_client.loss_matters_for(settings),
            )

        address, topology = parts.broker_address(settings), parts.topology(settings)
        adopt(address, topology, ledger.lineages, new_identity(), record)
    return ledger.identity


def _url(settings: Settings) -> str:
    return settings.ledger.url.get_secret_value()


def _time(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)
