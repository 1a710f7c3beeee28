"""Posts notifications to webhooks, again until they are answered 2xx or the settings' patience ends."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.simulator.settings import SimulatorSettings

log = structlog.get_logger()

#: Posts at a time. More than one, so a slow webhook holds up few, and order is not kept, as on the real line.
WORKERS = 16
#: How many past notifications are remembered for `GET /_simulator/notifications`.
REMEMBERED = 100_000
#: The pauses double up to this many times the first.
_MAX_PAUSE_FACTOR = 25


@dataclass(slots=True, kw_only=True)
class Posting:
    """One notification on its way to one webhook."""

    url: str
    authorization: str | None = field(repr=False)
    body: bytes = field(repr=False)
    type: str
    id: str | None
    attempts: int = 0
    #: The HTTP status of the last answer; None before the first.
    status: int | None = None

    @property
    def answered(self) -> bool:
        """Whether the webhook took it."""
        return self.status is not None and 200 <= self.status < 300


class Notifier:
    """Lives on the event loop; `start` it there before the first post."""

    def __init__(self, settings: Callable[[], SimulatorSettings]) -> None:
        self._settings = settings
        self._queue: asyncio.Queue[Posting] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self.past: deque[Posting] = deque(maxlen=REMEMBERED)

    async def start(self) -> None:
        """Begin to post, until the event loop ends; what is not answered then is lost, as when the provider dies."""
        self._tasks = [asyncio.create_task(self._work()) for _ in range(WORKERS)]

    def post(self, posting: Posting) -> None:
        """Post it soon; returns at once."""
        self.past.append(posting)
        settings = self._settings()
        self._later(settings.notify_delay + random.uniform(0, settings.notify_jitter), posting)  # noqa: S311 - no secret

    def _later(self, seconds: float, posting: Posting) -> None:
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self._queue.put_nowait, posting)
        else:
            self._queue.put_nowait(posting)

    async def _work(self) -> None:
        while True:
            posting = await self._queue.get()
            posting.attempts += 1
            posting.status = await self._answer(posting)
            if posting.answered:
                continue
            settings = self._settings()
            if posting.attempts < settings.notify_attempts:
                doubled = min(2 ** min(posting.attempts - 1, 10), _MAX_PAUSE_FACTOR)
                self._later(settings.notify_backoff * doubled, posting)
            else:
                log.warning(
                    "notification.given_up", type=posting.type, id=posting.id, attempts=posting.attempts
                )

    async def _answer(self, posting: Posting) -> int | None:
        try:
            async with asyncio.timeout(self._settings().notify_timeout):
                return await post(posting)
        except (OSError, TimeoutError, ValueError) as error:
            log.debug(
                "notification.unanswered", type=posting.type, id=posting.id, reason=type(error).__name__
            )
            return None


async def post(posting: Posting) -> int:
    """Post once on a separate connection and return the status of the answer.

    Raises:
        OSError: not reachable, or the connection was lost.
        ValueError: the answer is no HTTP.

    """
    target = urlsplit(posting.url)
    secure = target.scheme == "https"
    reader, writer = await asyncio.open_connection(
        target.hostname, target.port or (443 if secure else 80), ssl=True if secure else None
    )
    try:
        writer.write(_request(posting))
        status = _status(await reader.readline())
        # Leaving before the answer is whole would reset the connection under the webhook's hands.
        while await reader.read(65_536):
            pass
        return status
    finally:
        writer.close()


def _request(posting: Posting) -> bytes:
    target = urlsplit(posting.url)
    lines = [
        f"POST {target.path or '/'}{'?' + target.query if target.query else ''} HTTP/1.1",
        f"Host: {target.netloc.rpartition('@')[2]}",
        "Content-Type: application/json",
        f"Content-Length: {len(posting.body)}",
        "Connection: close",
    ]
    if posting.authorization is not None:
        lines.append(f"Authorization: {posting.authorization}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + posting.body


def _status(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    if not version.startswith(b"HTTP/1."):
        raise ValueError("the answer is no HTTP")
    return int(rest[:3])
