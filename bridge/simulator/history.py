"""The messages of the account, in threads (wire reference 4.2 and 4.3): seen after a lag, in pages, up to a cap."""

from __future__ import annotations

import base64
import binascii
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from bridge.simulator.errors import invalid_input

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")

#: Epoch times above this are milliseconds, below it seconds (wire reference 4.3).
_MILLISECONDS_FROM = 1e11


@dataclass(slots=True, kw_only=True)
class SimulatedMessage:
    """One SMS, in or out. Its status is what the account learns of it."""

    id: str
    direction: Literal["Inbound", "Outbound"]
    #: The number outside the account.
    remote: str
    #: The number of the account.
    local: str
    text: str = field(repr=False)
    status: str
    #: Seconds since the epoch.
    at: float
    #: Whether the account has read it: what it sent itself, and what a page has shown.
    seen: bool


@dataclass(slots=True)
class SimulatedThread:
    """All messages between one number outside and one of the account, the oldest first."""

    remote: str
    local: str
    messages: dict[str, SimulatedMessage] = field(default_factory=dict)
    #: Seconds since the epoch, of the last page that was read.
    pulled_at: float = 0.0

    def visible(self, until: float) -> list[SimulatedMessage]:
        """Return the messages that the history shows, those up to `until` (s), the oldest first."""
        return [message for message in self.messages.values() if message.at <= until]


@dataclass(frozen=True, slots=True)
class Page:
    """The parameters of a request for a list: `max`, `next`, `new` and `lastMessageTime`."""

    size: int
    after: str | None
    only_new: bool
    #: Seconds since the epoch.
    since: float


class SimulatedHistory:
    """The threads of the account."""

    def __init__(self) -> None:
        self._threads: dict[tuple[str, str], SimulatedThread] = {}
        self._order: deque[SimulatedMessage] = deque()

    def add(self, message: SimulatedMessage, cap: int | None) -> None:
        """Keep `message`, and of all messages no more than `cap`, the oldest going first."""
        key = (message.remote, message.local)
        self._threads.setdefault(key, SimulatedThread(*key)).messages[message.id] = message
        self._order.append(message)
        while cap is not None and len(self._order) > cap:
            self._forget(self._order.popleft())

    def thread(self, remote: str, local: str) -> SimulatedThread | None:
        """Return the thread between the two numbers, where there is one."""
        return self._threads.get((remote, local))

    def threads(self) -> list[SimulatedThread]:
        """Return all threads."""
        return list(self._threads.values())

    def find(self, message_id: str) -> SimulatedMessage | None:
        """Return the message with that id, wherever it is."""
        threads = self._threads.values()
        return next((t.messages[message_id] for t in threads if message_id in t.messages), None)

    def latest(self, count: int) -> list[SimulatedMessage]:
        """Return the last `count` messages that came or went, the newest first."""
        newest = reversed(self._order)
        return [message for message, _ in zip(newest, range(count), strict=False)]

    def delete(self, messages: Iterable[SimulatedMessage]) -> None:
        """Forget `messages`."""
        gone = {message.id: message for message in messages}
        for message in gone.values():
            self._forget(message)
        self._order = deque(message for message in self._order if message.id not in gone)

    def _forget(self, message: SimulatedMessage) -> None:
        key = (message.remote, message.local)
        if thread := self._threads.get(key):
            thread.messages.pop(message.id, None)
            if not thread.messages:
                del self._threads[key]


def parse_page(query: Mapping[str, str], limit: int) -> Page:
    """Read the parameters of a request for a list.

    Raises:
        ApiError: a parameter is not a number, or `next` is not a pointer of the simulator.

    """
    since = _number(query, "lastMessageTime", 0.0)
    return Page(
        size=min(limit, int(_number(query, "max", limit))) or limit,
        after=_unpack(query["next"]) if query.get("next") else None,
        only_new=query.get("new", "").lower() not in {"", "false", "0"},
        since=since / 1000 if since > _MILLISECONDS_FROM else since,
    )


def cut(items: Iterable[T], page: Page, name: Callable[[T], str]) -> tuple[list[T], str | None]:
    """Return one page of `items` and the pointer to the next, None on the last. `name` returns the key of an item."""
    rest = list(items)
    if page.after is not None:
        position = next((index for index, item in enumerate(rest) if name(item) == page.after), None)
        if position is None:
            raise invalid_input("next")
        rest = rest[position + 1 :]
    shown = rest[: page.size]
    return shown, _pack(name(shown[-1])) if len(rest) > len(shown) else None


def _number(query: Mapping[str, str], name: str, default: float) -> float:
    try:
        return max(0.0, float(query.get(name) or default))
    except ValueError as error:
        raise invalid_input(name) from error


def _pack(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _unpack(pointer: str) -> str:
    try:
        return base64.urlsafe_b64decode(pointer).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise invalid_input("next") from error
