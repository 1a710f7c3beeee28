"""The "send SMS" command as a value, and the configured rules for it (SPEC section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from bridge.domain.match_keys import LONGEST_TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.domain.addresses import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRules:
    """The configured rules for commands."""

    allow_missing_id: bool = False
    max_destinations: int = 100
    default_region: str | None = None
    #: Whether the length of numbers is checked: False only in a client without libphonenumber.
    checks_length: bool = True
    default_sender: str | None = None
    #: Whether an unknown field is ignored with a warning, or makes the command invalid.
    unknown_fields: Literal["warn", "reject"] = "warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendSms:
    """A valid command: one message to one or several destinations, each a submission."""

    #: None only if the configuration allows commands without an id, which cannot be deduplicated.
    id: str | None
    destinations: tuple[Address, ...] = field(repr=False)
    sender: Address = field(repr=False)
    #: Whether the command names its sender. Otherwise the configuration does, which may have changed since an earlier
    #: attempt.
    names_sender: bool = True
    message: str = field(repr=False)
    #: Seconds since the epoch, like all times here.
    send_at: float | None = None
    expires_at: float | None = None
    metadata: Mapping[str, str] | None = field(default=None, repr=False)
    #: The reason if the broker gave the command up before it was sent; it is not sent any more.
    given_up: str | None = None
    #: SHA-256 over type, destinations, sender and message as written; equal for equal commands.
    content_hash: bytes = field(repr=False)
    #: Names of unknown fields, masked for logs.
    unknown_fields: tuple[str, ...] = ()

    def is_reconcilable(self, index: int) -> bool:
        """Whether the provider's history can be searched for it: both numbers in E.164, and no text too long."""
        sender = self.sender
        has_numbers = self.destinations[index].e164 is not None and (
            sender.is_default or sender.e164 is not None
        )
        return has_numbers and len(self.message) <= LONGEST_TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """A message on the command queue that is not a valid command. The reasons name fields, never values."""

    #: The command's id, if it could be parsed.
    id: str | None
    reasons: tuple[str, ...]
    metadata: Mapping[str, str] | None = field(default=None, repr=False)
    #: The values of the address fields; None if no field can be parsed.
    addresses: tuple[object, ...] | None = field(default=None, repr=False)
    #: Like those of `SendSms`.
    unknown_fields: tuple[str, ...] = ()


Parsed: TypeAlias = SendSms | Malformed
