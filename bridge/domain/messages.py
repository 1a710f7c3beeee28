"""Messages as values: outgoing messages, and incoming commands before they are parsed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One message to publish, persistent and with a publisher confirm."""

    exchange: str
    routing_key: str
    body: bytes = field(repr=False)
    content_type: str | None = "application/json"
    #: AMQP basic properties beside content type and delivery mode: ``message_id``, ``correlation_id``, ``type`` …
    properties: Mapping[str, object] = field(default_factory=dict, repr=False)
    headers: Mapping[str, object] = field(default_factory=dict, repr=False)
    #: The queue that gets the message, through the default exchange, if no queue is bound for it.
    fallback: str | None = None
    #: Seconds until it is published; None for now.
    delay: int | None = None
    #: Whether the message may be dropped if no queue is bound for it; otherwise it is repeated until one is.
    droppable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedCommand:
    """A command that a service submitted over HTTP, before it is parsed."""

    body: bytes = field(repr=False)
    #: The request's `Idempotency-Key`, if it has one.
    key: str | None = None
    traceparent: str | None = None
    #: The client's address.
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A command as the broker delivered it, before it is parsed."""

    body: bytes = field(repr=False)
    #: The connection and the message on it, for the settlement; opaque to all but the source.
    tag: tuple[int, int]
    redelivered: bool = False
    #: The reason if the broker gave the command up (`expired`, `maxlen`, `delivery_limit` …).
    given_up: str | None = None
    #: AMQP basic properties, unchanged (``message_id``, ``reply_to``, ``correlation_id`` …).
    properties: Mapping[str, object] = field(default_factory=dict, repr=False)
    headers: Mapping[str, object] = field(default_factory=dict, repr=False)
    #: Names of properties and headers (``headers.x-note``) that are missing here because the AMQP library cannot decode
    #: them; ``headers`` alone stands for headers whose names are not known.
    unreadable: tuple[str, ...] = ()
