"""The client's own words go to the standard library's logger `bridge.client`, wherever its process sends them."""

from __future__ import annotations

import logging

# Not structlog: in somebody else's process it would print to stdout, unless they configured it.
_LOGGER = logging.getLogger("bridge.client")  # noqa: TID251 - see above


class ClientLog:
    """Speaks as structlog's loggers do: an event with fields."""

    def __init__(self, *, is_raised: bool = False, **bound: object) -> None:
        """`bound`: fields of every event. What is raised as well, to whoever it concerns, is no warning here."""
        self._warning = logging.INFO if is_raised else logging.WARNING
        self._bound = bound

    def info(self, event: str, /, **fields: object) -> None:
        """Tell that something went as it should."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Tell of what is tried again."""
        self._write(self._warning, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """Tell of what somebody has to mend."""
        self._write(logging.ERROR, event, fields)

    def critical(self, event: str, /, **fields: object) -> None:
        """Tell of a mistake of ours."""
        exc_info = bool(fields.pop("exc_info", False))
        self._write(logging.CRITICAL, event, fields, exc_info=exc_info)

    def _write(self, level: int, event: str, fields: dict[str, object], *, exc_info: bool = False) -> None:
        ended = " ".join(f"{name}={value}" for name, value in {**self._bound, **fields}.items())
        _LOGGER.log(level, "%s %s", event, ended, exc_info=exc_info)
