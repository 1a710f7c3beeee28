"""The "send SMS" command as a value, and the rules that configuration gives for it (SPEC section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from bridge.domain.match_keys import LONGEST_TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.domain.addresses import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRules:
    """The rules for commands that configuration gives."""

    allow_missing_id: bool = False
    max_destinations: int = 100
    default_region: str | None = None
    #: Whether numbers have to have a possible length: False only in a client without the library that knows them.
    checks_length: bool = True
    default_sender: str | None = None
    #: Whether a field that no command has is ignored, with a warning, or makes the command invalid.
    unknown_fields: Literal["warn", "reject"] = "warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendSms:
    """A valid command: one message to one or several destinations, each a submission."""

    #: None only where configuration allows commands without one: then nothing tells two of them apart.
    id: str | None
    destinations: tuple[Address, ...] = field(repr=False)
    sender: Address = field(repr=False)
    #: Whether the command names its sender itself; else configuration does, and may have named another one when an
    #: earlier attempt was made.
    names_sender: bool = True
    message: str = field(repr=False)
    #: Seconds since the epoch, as all times here.
    send_at: float | None = None
    expires_at: float | None = None
    metadata: Mapping[str, str] | None = field(default=None, repr=False)
    #: Why the broker gave it up before it was sent, where it did: it is not sent any more.
    given_up: str | None = None
    #: SHA-256 over type, destinations, sender and message as written: what makes two commands the same.
    content_hash: bytes = field(repr=False)
    #: Names of fields that no command has, fit to be shown.
    unknown_fields: tuple[str, ...] = ()

    def is_reconcilable(self, index: int) -> bool:
        """Whether the provider's history can be searched for it: it has numbers in E.164 alone, and no longer texts."""
        sender = self.sender
        has_numbers = self.destinations[index].e164 is not None and (
            sender.is_default or sender.e164 is not None
        )
        return has_numbers and len(self.message) <= LONGEST_TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """A message on the command queue that is no valid command. The reasons name fields, never values."""

    #: The command's id, where one could be read.
    id: str | None
    reasons: tuple[str, ...]
    metadata: Mapping[str, str] | None = field(default=None, repr=False)
    #: The values of its fields for addresses; None if no field can be read.
    addresses: tuple[object, ...] | None = field(default=None, repr=False)
    #: As those of `SendSms`.
    unknown_fields: tuple[str, ...] = ()


Parsed: TypeAlias = SendSms | Malformed
