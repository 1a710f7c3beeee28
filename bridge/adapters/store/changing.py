"""Carrying changes out on a slate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.ports import ChangeRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.domain.ledger import Change, Slate


def carry_out(changes: Sequence[Change], slate: Slate) -> list[object]:
    """Carry the changes out in order; returns what each gave back.

    Raises:
        ChangeRefused: one of them broke down; the slate is worth nothing then.

    """
    results = []
    for change in changes:
        try:
            results.append(change.apply(slate))
        except Exception as e:
            raise ChangeRefused(f"{type(change).__name__} broke down: {type(e).__name__}") from e
    return results
