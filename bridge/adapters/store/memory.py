"""The ledger in memory: for trying out and for tests. Nothing survives the process."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.core.ledger import Change, CommandRecord


class MemoryLedger:
    """Fills the port `Ledger`."""

    def __init__(self) -> None:
        self._records: dict[str, CommandRecord] = {}
        self._lock = Lock()

    def apply(self, changes: Sequence[Change]) -> list[object]:
        """Carry the changes out in one step; see `bridge.ports.Ledger`."""
        with self._lock:
            touched: dict[str, CommandRecord] = {}
            results = []
            for change in changes:
                known = touched.get(change.command_id) or self._records.get(change.command_id)
                record, result = change.apply(_copy(known))
                if record is not None:
                    touched[change.command_id] = record
                results.append(result)
            self._records.update(touched)
        return results

    def close(self) -> None:
        """Forget everything."""
        self._records.clear()


def _copy(record: CommandRecord | None) -> CommandRecord | None:
    """Give a change a record of its own, as a database would."""
    return None if record is None else replace(record, submissions=dict(record.submissions))
