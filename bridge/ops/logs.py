"""Logs: one line for each event, on stderr, without secrets, message texts or phone numbers.

Secrets and message texts are recognized by their keys. A string of type `bridge.domain.masks.Shown` (ids of commands)
has no phone numbers and is written unchanged. In all others, tracebacks included, everything that may be a phone number
is masked. Messages of libraries through the standard logging are treated in the same way, from WARNING up.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
import threading
import time
from datetime import UTC, datetime
from io import FileIO, TextIOWrapper
from typing import TYPE_CHECKING, ClassVar, TextIO

import structlog

from bridge.domain.json_writer import make_encoder
from bridge.domain.masked_urls import mask_urls
from bridge.domain.masks import DEFAULT_LIMIT, Shown, mask_numbers, printable
from bridge.domain.printable import wants_colour
from bridge.ops.journal import is_journal, with_priority

if TYPE_CHECKING:
    from types import TracebackType

    from structlog.typing import EventDict, Processor, WrappedLogger

    from bridge.settings import LogSettings

REDACTED = "[redacted]"

#: Keys whose values are never written, except numbers, flags and None.
_SECRET_KEY = re.compile(
    r"pass(word|wd)|secret|token|authori[sz]ation|credential|cookie|api_?key|"
    r"^(x_)?(message|text|body|raw|payload|content)$",
    re.IGNORECASE,
)
#: Keys that this module sets: written unchanged.
_OUR_KEYS = frozenset({"event", "timestamp", "level"})
#: Configured values, and addresses of machines that the operator has to know: only kept on one line.
_PLAIN_KEYS = frozenset({"host", "client", "logger"})
#: A token behind its scheme.
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]+", re.IGNORECASE)

#: Plain words and UUIDs: a UUID must not be mistaken for a phone number.
_HARMLESS_TEXT = re.compile(r"[A-Za-z_.\- ]{0,100}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Letters and digits without so many digits in a row are neither a phone number nor a secret.
_DIGITS = re.compile(r"\d{7}")
#: Types of values that can't hold a secret or a phone number.
_HARMLESS = (int, float, type(None))


class _Hosts:
    """The hosts of the configured addresses, which are never masked."""

    known: ClassVar[frozenset[str]] = frozenset()


def configure(
    settings: LogSettings,
    stream: TextIO | None = None,
    *,
    process: int | None = None,
    hosts: frozenset[str] = frozenset(),
) -> None:
    """Set up structlog and the standard logging, once, to write to `stream` (stderr).

    `process` is the number of this process if several write to one log; each line then has it. `hosts` are those of the
    configured addresses; they are not masked, although their digits may look like a phone number.
    """
    _Hosts.known = hosts
    for_good = stream is None
    stream = _unbuffered(sys.stderr) if stream is None else stream
    form = settings.format or ("console" if stream.isatty() else "json")
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    render = _renderer(form, colors=wants_colour(os.environ, is_terminal=stream.isatty()))
    if is_journal(stream):
        render = functools.partial(_for_journal, render)
    numbered: list[Processor] = [] if process is None else [functools.partial(_numbered, process)]
    common = [*numbered, *_COMMON]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *common, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=functools.partial(_LossyLogger, stream),
        # A cached logger costs half; a logger that writes to a test's stream must not be cached.
        cache_logger_on_first_use=for_good,
    )
    _take_in_standard_logging(stream, common, render)
    sys.excepthook = _log_crash
    threading.excepthook = _log_thread_crash


class _LossyLogger(structlog.WriteLogger):
    """Writes lines; a line that can't be written is dropped, and the process continues."""

    def __init__(self, stream: TextIO, *_names: object) -> None:
        super().__init__(stream)

    def msg(self, message: str) -> None:
        """Write a line, or drop it."""
        try:
            self._write(f"{message}\n")
            self._flush()
        except OSError:
            return

    debug = info = warning = error = critical = exception = msg


def _unbuffered(stream: TextIO) -> TextIO:
    """Return the stream without a buffer: on a full disk, flushing a buffer at exit would fail the process."""
    return TextIOWrapper(
        FileIO(stream.fileno(), "w", closefd=False),
        encoding=stream.encoding,
        errors=stream.errors,
        write_through=True,
    )


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Remove secrets, message texts and phone numbers from `event`."""
    for key, value in event.items():
        if key not in _OUR_KEYS and not isinstance(value, _HARMLESS):
            event[key] = _shown(key, value)
    return event


def _shown(key: str, value: object) -> object:
    if isinstance(value, Shown):
        return printable(_without_secrets(value))
    if key in _PLAIN_KEYS:
        return printable(str(value))
    if key == "exception":
        return "\n".join(map(_masked_line, str(value).splitlines()))
    return REDACTED if _is_secret(key) else _masked(value)


@functools.lru_cache(maxsize=1000)  # the keys are in our code: they are few
def _is_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def _masked(value: object) -> object:
    if isinstance(value, str):
        return value if _HARMLESS_TEXT.fullmatch(value) else _masked_text(value)
    if isinstance(value, dict):
        return {str(_masked(str(key))): _masked_item(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(item) for item in value]
    return value if isinstance(value, _HARMLESS) else _masked_text(str(value))


def _masked_item(key: str, value: object) -> object:
    return REDACTED if _SECRET_KEY.search(key) and not isinstance(value, _HARMLESS) else _masked(value)


def _masked_text(text: str) -> str:
    if text.isalnum() and len(text) <= DEFAULT_LIMIT and not _DIGITS.search(text):
        return text
    return mask_numbers(_without_secrets(text), hosts=_Hosts.known)


def _without_secrets(text: str) -> str:
    return _BEARER.sub(r"\1 ***", mask_urls(text) if "://" in text else text)


def _masked_line(line: str) -> str:
    """Mask one line of a traceback, and keep its indentation."""
    return line[: len(line) - len(line.lstrip(" "))] + _masked_text(line)


def _numbered(process: int, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # Not a context variable: each thread has separate ones.
    event["process"] = process
    return event


def _from_standard_logging(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Turn a library's message into the field `detail` of the event `library.logged`."""
    event["detail"] = event["event"]
    event["event"] = "library.logged"
    return event


def _stamp(_: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Add the level and the time."""
    event["level"] = "error" if name == "exception" else name
    event["timestamp"] = _iso(time.time())
    return event


def _iso(now: float) -> str:
    seconds, microseconds = divmod(int(now * 1_000_000), 1_000_000)
    return f"{_second(seconds)}.{microseconds:06d}Z"


@functools.lru_cache(maxsize=4)  # a second has many lines
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


_encode = make_encoder()

#: The processors of every line.
_COMMON: list[Processor] = [
    _stamp,
    structlog.processors.format_exc_info,
    redact,
]


def _renderer(form: str, *, colors: bool) -> Processor:
    if form == "console":
        return structlog.dev.ConsoleRenderer(colors=colors)
    return _json


def _json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return "".join(_encode(event, 0))


def _for_journal(render: Processor, logger: WrappedLogger, name: str, event: EventDict) -> str:
    level = event["level"]
    return with_priority(level, str(render(logger, name, event)))


def _take_in_standard_logging(stream: TextIO, common: list[Processor], render: Processor) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, _from_standard_logging, *common],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    structlog.get_logger().critical("process.crashed", exc_info=(kind, error, trace))


def _log_thread_crash(crash: threading.ExceptHookArgs) -> None:
    if crash.exc_value is not None:
        structlog.get_logger().critical(
            "thread.crashed",
            thread=crash.thread.name if crash.thread else None,
            exc_info=(crash.exc_type, crash.exc_value, crash.exc_traceback),
        )
