"""Argument checks: an error names the argument, its type and the expected one.

A value is never repeated: it may be a number, a text or a password.
"""

from __future__ import annotations

import math
import threading
from typing import Any

#: Bytes of a name on the broker (AMQP 0-9-1 section 4.2.5.3).
MAX_NAME = 255


def expect(name: str, value: object, kinds: type | tuple[type, ...], wanted: str) -> None:
    """Check that an argument is of one of some classes; True and False do not count as numbers.

    Raises:
        TypeError: it is of another class.

    """
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise wrong_type(name, value, wanted)


def wrong_type(name: str, value: object, wanted: str) -> TypeError:
    """Return the error that says which argument is of a wrong type."""
    return TypeError(not_a(name, value, wanted))


def not_a(name: str, value: object, wanted: str) -> str:
    """Say which argument is of a wrong type, and what is expected."""
    given = value.__name__ if isinstance(value, type) else type(value).__name__
    return f"{name} must be {wanted}, not {given if value is not None else 'None'}"


def seconds(name: str, value: object, *, zero: bool = False) -> float:
    """Return an argument that is a time span in seconds; 0 only where `zero` allows it.

    Raises:
        TypeError: it is not a number.
        ValueError: it is too small, too large, or not a number of seconds at all (NaN).

    """
    expect(name, value, (int, float), "a number of seconds")
    span: Any = value
    # A comparison with NaN is false.
    if not (0 <= span <= threading.TIMEOUT_MAX) or (span == 0 and not zero) or math.isinf(span):
        raise ValueError(f"{name} must be a finite number of seconds{', 0 or more' if zero else ' above 0'}")
    return float(span)


def count(name: str, value: object, *, most: int | None = None) -> int:
    """Return an argument that is a whole number from 1 on, and not above `most`.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is too small or too large.

    """
    expect(name, value, int, "a whole number")
    number: Any = value
    if number < 1 or (most is not None and number > most):
        raise ValueError(f"{name} must be {'1 or more' if most is None else f'from 1 to {most}'}")
    return int(number)


def broker_name(name: str, value: object, *, most: int = MAX_NAME) -> str:
    """Return an argument that names something on the broker: 1 to `most` bytes of UTF-8.

    Raises:
        TypeError: it is not a string.
        ValueError: it is empty or too long.

    """
    expect(name, value, str, "a str")
    text = str(value)
    if not 1 <= len(text.encode(errors="replace")) <= most:
        raise ValueError(f"{name} must have 1 to {most} bytes")
    return text
