"""Messages that the provider has, and the submissions that they may belong to."""

from __future__ import annotations

from dataclasses import dataclass, field

from bridge.domain.match_keys import content_key

#: Seconds since the epoch (2010): no message of the provider's is older, and what says so is in another unit.
PLAUSIBLE = 1_262_304_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """An outbound message that the provider says it has."""

    message_id: str
    #: The numbers as the provider writes them, and when it had the message, in seconds since the epoch.
    sender_address: str | None = field(repr=False)
    destination_address: str = field(repr=False)
    #: See `bridge.domain.match_keys.text_key`.
    text_key: bytes
    sent_at: float
    status: str | None = None
    #: None where only the key is known.
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The result of a history lookup."""

    messages: tuple[Evidence, ...] = ()
    #: How many messages of any kind the provider has of the whole account; None where that is not known.
    total: int | None = None
    #: Whether this is all that the provider has of the pair.
    complete: bool = True
    #: When the oldest message of any kind was sent that the account is known to have; it forgets the oldest first.
    oldest_at: float | None = None
    #: When it was asked for, in seconds since the epoch: a message accepted later can't be in it.
    read_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When the provider may have taken what is in doubt, and when it has certainly shown it if so."""

    #: In seconds since the epoch; nothing of its own is older than `start`.
    start: float
    settled_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A submission that may have been sent."""

    key: bytes
    text: str = field(repr=False)
    destination_address: str = field(repr=False)
    #: None where any of the account's numbers may have sent it.
    sender_address: str | None = field(repr=False)
    #: When the first attempt in doubt began and the last one ended.
    since: float
    until: float
    #: When the wait for a history ends.
    give_up_at: float
    now: float
    #: Whether the provider said that it has it, and under which id, if it said so.
    submitted: bool = False
    message_id: str | None = None
    #: Whether no attempt is known: then it is sent unless a message shows that it was.
    is_suspected: bool = False

    def spells(self, message: Evidence) -> bool:
        """Whether the message has just our text, which no gateway has altered."""
        return message.text is not None and content_key(message.text) == content_key(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """Another submission to the same destination, which may have a message whose id is not known."""

    match_key: bytes
    #: When its first attempt in doubt began and the last one ended, as in a `Doubt`; a call under way has no end yet.
    since: float
    until: float
    #: Whether a call for it is under way, and whether it is in doubt: then it is still to be looked up. With neither it
    #: has ended, as `unknown` or as `sent` without an id.
    is_calling: bool = False
    is_in_doubt: bool = False
    #: When the history was last read in which it recognised no message as its own, in seconds since the epoch.
    looked_at: float = 0.0
    #: Whether the provider said that it has it: one of the messages is its own, for certain.
    submitted: bool = False
