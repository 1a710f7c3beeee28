"""Finding rows by lists of values.

A list is one parameter, whatever its length: so the statement is always the same, the database prepares it once, and no
limit of parameters is ever met. SQLAlchemy's own expands to one for each value, and takes longer than the database.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import Connection, Table


def _as_is(values: list[Any]) -> object:
    return values


#: By dialect, what stands for "is in this list", and how the list is given.
_AMONG: dict[str, tuple[str, Callable[[list[Any]], object]]] = {
    "sqlite": ("IN (SELECT value FROM json_each(?))", json.dumps),
    "postgresql": ("= ANY(%s)", _as_is),
}


def rows_among(
    connection: Connection,
    table: Table,
    columns: Sequence[str] = (),
    **lists: Collection[str] | Collection[int],
) -> Sequence[Sequence[Any]]:
    """Return the rows of which each of the columns named in `lists` has one of its values.

    They have all columns in the table's order, or those in `columns`.
    """
    dialect = connection.dialect.name
    parameters = tuple(as_list(dialect, values) for values in lists.values())
    return connection.exec_driver_sql(
        select_among(dialect, table, tuple(columns), tuple(lists)), parameters
    ).all()


def as_list(dialect: str, values: Collection[Any]) -> object:
    """Return what the driver takes for a list."""
    return _AMONG[dialect][1](list(values))


@cache
def select_among(dialect: str, table: Table, columns: tuple[str, ...], keys: tuple[str, ...]) -> str:
    """Return the statement that finds the rows of which each column in `keys` has a value of its list."""
    wanted = ", ".join(columns or table.columns.keys())
    condition = " AND ".join(f"{key} {_AMONG[dialect][0]}" for key in keys)
    return f"SELECT {wanted} FROM {table.name} WHERE {condition}"  # noqa: S608 - names of ours alone
