"""The client's log: the standard library's logger `bridge.client`."""

from __future__ import annotations

import logging

# Not structlog: in a service's process it would print to stdout unless it is configured.
_LOGGER = logging.getLogger("bridge.client")  # noqa: TID251 - see above


class ClientLog:
    """A logger with structlog's methods: an event with fields."""

    def __init__(self, *, is_raised: bool = False, **bound: object) -> None:
        """`bound`: fields of every event. With `is_raised`, callers get warnings as errors; they are logged as info."""
        self._warning = logging.INFO if is_raised else logging.WARNING
        self._bound = bound

    def info(self, event: str, /, **fields: object) -> None:
        """Log a success."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Log a failure that is retried."""
        self._write(self._warning, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """Log an error that an operator has to fix."""
        self._write(logging.ERROR, event, fields)

    def critical(self, event: str, /, **fields: object) -> None:
        """Log a bug of the client."""
        exc_info = bool(fields.pop("exc_info", False))
        self._write(logging.CRITICAL, event, fields, exc_info=exc_info)

    def _write(self, level: int, event: str, fields: dict[str, object], *, exc_info: bool = False) -> None:
        ended = " ".join(f"{name}={value}" for name, value in {**self._bound, **fields}.items())
        _LOGGER.log(level, "%s %s", event, ended, exc_info=exc_info)
