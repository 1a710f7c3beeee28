"""The JSON bodies that the provider takes, and not a key more, so that clients stay canonical."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bridge.simulator.errors import ApiError, invalid_input
from bridge.simulator.http import Reply

if TYPE_CHECKING:
    from bridge.simulator.http import SimulatorRequest


def wrapped(request: SimulatorRequest, name: str, *keys: str) -> dict[str, object]:
    """Return the object that the body wraps in `name`; it may have `keys` and no others.

    Raises:
        ApiError: the body is no JSON, or has more or less in it.

    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(Reply(status=415))
    try:
        value = json.loads(request.body)
    except ValueError as error:
        raise invalid_input("body") from error
    inner = value[name] if isinstance(value, dict) and value.keys() == {name} else None
    if not isinstance(inner, dict):
        raise invalid_input(name)
    if unknown := sorted(inner.keys() - set(keys)):
        raise invalid_input(unknown[0])
    return inner


def string(inner: dict[str, object], *path: str) -> str:
    """Return the string that is at `path`, where each object on the way holds nothing else.

    Raises:
        ApiError: it is not there, or empty, or not alone.

    """
    value: object = inner.get(path[0])
    for key in path[1:]:
        if not isinstance(value, dict) or value.keys() != {key}:
            raise invalid_input(path[0])
        value = value[key]
    if not isinstance(value, str) or not value:
        raise invalid_input(path[-1])
    return value


def correlator(inner: dict[str, object]) -> str | int | None:
    """Return the `clientCorrelator`, a string or a number, where there is one (wire reference 4.1)."""
    value = inner.get("clientCorrelator")
    if value is not None and not isinstance(value, str | int):
        raise invalid_input("clientCorrelator")
    return value
