"""Evidence: messages that the provider has, and the submissions that they may belong to."""

from __future__ import annotations

from dataclasses import dataclass, field

from bridge.domain.match_keys import content_key

#: Seconds since the epoch (2010). No message of the provider is older; a smaller number is a time in another unit.
PLAUSIBLE = 1_262_304_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """An outbound message that the provider says it has."""

    message_id: str
    #: The numbers as the provider writes them.
    sender_address: str | None = field(repr=False)
    destination_address: str = field(repr=False)
    #: See `bridge.domain.match_keys.text_key`.
    text_key: bytes
    #: When the provider had the message, in seconds since the epoch.
    sent_at: float
    status: str | None = None
    #: None if only the key is known.
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryExtract:
    """An extract of the provider's message history: the messages between two numbers."""

    messages: tuple[Evidence, ...] = ()
    #: The number of messages of any kind that the provider has of the whole account; None if unknown.
    total: int | None = None
    #: Whether it has all messages of the pair that the provider has.
    complete: bool = True
    #: When the oldest known message of the account was sent, of any kind. The provider drops the oldest first.
    oldest_at: float | None = None
    #: When the request was made, in seconds since the epoch: a message that is accepted later is not included.
    read_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The settle window of attempts in doubt. Times are in seconds since the epoch."""

    #: No message of the submission is older.
    start: float
    #: From here on, the history is assumed to show every message that the provider has accepted.
    settled_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A submission that may have been sent."""

    key: bytes
    text: str = field(repr=False)
    destination_address: str = field(repr=False)
    #: None if any number of the account may have sent it.
    sender_address: str | None = field(repr=False)
    #: When the first attempt in doubt began and the last one ended.
    since: float
    until: float
    #: When the wait for a history ends.
    give_up_at: float
    now: float
    #: Whether the provider has confirmed that it has the submission, and the message id, if known.
    submitted: bool = False
    message_id: str | None = None
    #: Whether an attempt is only suspected: then it is sent unless a message shows that it was sent.
    is_suspected: bool = False

    def spells(self, message: Evidence) -> bool:
        """Whether the message has exactly our text, unaltered by a gateway."""
        return message.text is not None and content_key(message.text) == content_key(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """Another submission to the same destination, which may have a message whose id is unknown."""

    match_key: bytes
    #: When its first attempt in doubt began and the last one ended, as in `Doubt`; infinite for a call in flight.
    since: float
    until: float
    #: Whether a call for it is in flight, and whether it is in doubt and still to be looked up. If neither is true, it
    #: has ended, as `unknown` or as `sent` without a message id.
    is_calling: bool = False
    is_in_doubt: bool = False
    #: The last history lookup that found no message for it, in seconds since the epoch.
    looked_at: float = 0.0
    #: Whether the provider has confirmed that it has the submission: one of the messages certainly belongs to it.
    submitted: bool = False
