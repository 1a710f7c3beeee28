"""Messages as values: those that are published, and commands as the broker or an HTTP request brings them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One message to publish: persistent, confirmed by the broker."""

    exchange: str
    routing_key: str
    body: bytes = field(repr=False)
    content_type: str | None = "application/json"
    #: AMQP basic properties beside content type and delivery mode: ``message_id``, ``correlation_id``, ``type`` …
    properties: Mapping[str, object] = field(default_factory=dict, repr=False)
    headers: Mapping[str, object] = field(default_factory=dict, repr=False)
    #: The queue that takes it, through the default exchange, where no queue is bound for it.
    fallback: str | None = None
    #: Seconds until it is published; None for now.
    delay: int | None = None
    #: Whether it may be dropped where no queue is bound for it; otherwise it is tried until one is.
    droppable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedCommand:
    """A command that a service submitted over HTTP, before it is parsed."""

    body: bytes = field(repr=False)
    #: Its `Idempotency-Key`, where the request has one.
    key: str | None = None
    traceparent: str | None = None
    #: The address that it came from.
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A command as the broker delivered it, before it is parsed."""

    body: bytes = field(repr=False)
    #: Which message of which connection this is, to settle it with; opaque to all but its source.
    tag: tuple[int, int]
    redelivered: bool = False
    #: Why the broker itself gave the command up (`expired`, `maxlen`, `delivery_limit` …), where it did.
    given_up: str | None = None
    #: AMQP basic properties as they came (``message_id``, ``reply_to``, ``correlation_id`` …).
    properties: Mapping[str, object] = field(default_factory=dict, repr=False)
    headers: Mapping[str, object] = field(default_factory=dict, repr=False)
    #: Names of properties and headers (``headers.x-note``) that are missing here because no AMQP library can read them;
    #: ``headers`` alone: some headers, and their names are not known.
    unreadable: tuple[str, ...] = ()
