"""Events as typed objects. Keys that the bridge adds later are in `data`; an unknown type is a plain `Event`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from bridge.domain import events
from bridge.domain.contracts import data as contract
from bridge.domain.events import camel

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

#: With `events.camel_case` the bridge publishes keys in camel case; the client always has snake case.
_SNAKE = {
    camel(name): name
    for shape in (
        contract.DEFERRED,
        contract.ERROR,
        contract.RECEIVED,
        contract.CANCELLED,
        contract.MESSAGE_EVENT,
    )
    for name in shape.names
}
#: Objects whose keys come from the caller or the provider and keep their spelling.
_FOREIGN = frozenset({"metadata", "raw"})


class NotAnEvent(ValueError):
    """The message is not an event of the bridge."""


class _Key(Generic[T]):
    """A key of an event's data, as an attribute."""

    def __set_name__(self, owner: type[Event], name: str) -> None:
        self._name = name

    def __get__(self, event: Event, owner: type[Event]) -> T:
        value: Any = event.data.get(self._name)
        return cast("T", value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened. Its `repr` shows neither text nor number."""

    #: The same for the same event, however often it comes.
    id: str
    #: Such as `sms.outbound.sent`: docs/messages.md has them all.
    type: str
    #: When it was recorded; of what the provider posted, the time that the provider gave it.
    time: datetime
    source: str
    #: The command's id, where it is about one.
    subject: str | None = None
    traceparent: str | None = None
    #: All data of the event, with its keys in snake case.
    data: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an outcome is not `sent`. Go by `name` and codes, not by the wording of `message`, which may name numbers."""

    name: str
    exception_id: str | None = None
    message: str | None = field(default=None, repr=False)
    http_status: int | None = None


class _OfASubmission(Event):
    """An event about one destination of a command; in an `invalid` one, unreadable fields have the value None."""

    __slots__ = ()

    command_id = _Key["str | None"]()
    index = _Key["int | None"]()
    destination_address = _Key["str | None"]()
    sender_address = _Key["str | None"]()
    message = _Key["str | None"]()
    delivery_status = _Key["str | None"]()
    message_id = _Key["str | None"]()
    metadata = _Key["Mapping[str, str] | None"]()


class _OfAnAttempt(_OfASubmission):
    """An event about the result of a call to the provider."""

    __slots__ = ()

    attempts = _Key[int]()
    segments = _Key["int | None"]()
    reconciled = _Key[bool]()

    @property
    def error(self) -> Problem | None:
        """The error; None without one."""
        given = self.data.get("error")
        if not isinstance(given, dict):
            return None
        return Problem(
            given.get("name", ""), given.get("exception_id"), given.get("message"), given.get("http_status")
        )


class Outcome(_OfAnAttempt):
    """A final result: `sent`, `undeliverable`, `rejected`, `invalid`, `expired`, `failed`, `unknown`."""

    __slots__ = ()

    @property
    def status(self) -> str:
        """The last word of the type, such as `sent` or `rejected`."""
        return self.type.rpartition(".")[2]

    @property
    def summary(self) -> str:
        """The status, and the codes of the error where there is one; neither text nor number."""
        error = self.error
        if error is None:
            return self.status
        http_status = None if error.http_status is None else f"HTTP {error.http_status}"
        codes = ", ".join(code for code in (error.name, error.exception_id, http_status) if code)
        return f"{self.status} ({codes})"

    def __repr__(self) -> str:
        return (
            f"Outcome({self.summary}, command_id={self.command_id!r}, index={self.index!r}, "
            f"message_id={self.message_id!r}, id={self.id!r})"
        )

    @property
    def is_sent(self) -> bool:
        """Whether the provider has taken it."""
        return self.type == events.SENT


class Deferred(_OfAnAttempt):
    """A submission that waits: a history lookup or a retry follows."""

    __slots__ = ()

    retry_at = _Key[str]()


class Receipt(_OfASubmission):
    """After `sent`: delivered or undeliverable. It has no `subject` if the bridge did not send the message."""

    __slots__ = ()

    @property
    def is_delivered(self) -> bool:
        """Whether it is on the handset."""
        return self.type == events.DELIVERED


class Message(Event):
    """An SMS that came in (`sms.inbound.received`), or went out from the account (`sms.outbound.synced`).

    Its values are the provider's, unchanged.
    """

    __slots__ = ()

    sender_address = _Key["str | None"]()
    destination_address = _Key["str | None"]()
    message = _Key["str | None"]()
    message_id = _Key["str | None"]()
    date_time = _Key["int | str | None"]()
    recovered = _Key[bool]()


_CLASSES: dict[str, type[Event]] = {
    **dict.fromkeys(events.TERMINAL, Outcome),
    events.DEFERRED: Deferred,
    events.DELIVERED: Receipt,
    events.UNDELIVERED: Receipt,
    events.INBOUND_RECEIVED: Message,
    events.OUTBOUND_SYNCED: Message,
}


def event_from(document: Mapping[str, Any] | None) -> Event:
    """Return an event, of the class that belongs to its type.

    Raises:
        NotAnEvent: it is not an event of the bridge.

    """
    try:
        if document is None:
            raise NotAnEvent("no JSON object with an object as its data")
        type_ = _text(document, "type")
        return _CLASSES.get(type_, Event)(
            id=_text(document, "id"),
            type=type_,
            time=datetime.fromisoformat(_text(document, "time")),
            source=_text(document, "source"),
            subject=document.get("subject"),
            traceparent=document.get("traceparent"),
            data=_snake(document["data"]),
        )
    except ValueError as e:
        raise NotAnEvent("no CloudEvent of the bridge") from e


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str):
        raise NotAnEvent(f"no {key}")
    return value


def _snake(given: Mapping[str, Any]) -> dict[str, Any]:
    snake = {_SNAKE.get(key, key): value for key, value in given.items()}
    return {
        key: _snake(value) if isinstance(value, dict) and key not in _FOREIGN else value
        for key, value in snake.items()
    }
