"""The order of a command that comes by HTTP, from top to bottom: look for the broker, compare, offer.

This is the only place where that order stands. `submit` is a generator without I/O: it yields what is to be done, is
sent what came of it, and returns the result. `bridge.ingest.command_intake` has read the command before, carries the
actions out, and answers.

The order is the guarantee. 202 is answered only once the broker has confirmed the command. Nothing is kept here: what
was not confirmed in time was not taken, and its sender comes again with the same id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from bridge.ports import OneShotResult
from bridge.ports.http_results import SubmitResult

if TYPE_CHECKING:
    from collections.abc import Generator

    from bridge.domain.messages import Outgoing
    from bridge.domain.submitted_commands import ValidatedCommand


@dataclass(slots=True)
class CheckBroker:
    """Return whether the broker takes commands."""


@dataclass(slots=True)
class FindContent:
    """Return the content hash of the command with this id; None if the ledger has none or does not answer."""

    command_id: str


@dataclass(slots=True)
class PublishCommand:
    """Offer the command to the broker, once, and return `OneShotResult`."""

    message: Outgoing


SubmissionStep: TypeAlias = CheckBroker | FindContent | PublishCommand


def submit(command: ValidatedCommand) -> Generator[SubmissionStep, Any, SubmitResult]:
    """Have the broker take a command."""
    is_there: bool = yield CheckBroker()
    if not is_there:
        return SubmitResult.UNAVAILABLE
    # An id that was made up for it is no other command's.
    if command.has_own_id:
        known: bytes | None = yield FindContent(command.id)
        # Without an answer of the ledger, a worker compares the contents later.
        if known is not None and known != command.content_hash:
            return SubmitResult.CONFLICTING
    offered: OneShotResult = yield PublishCommand(command.message)
    match offered:
        case OneShotResult.TAKEN:
            return SubmitResult.QUEUED
        case OneShotResult.UNROUTABLE:
            return SubmitResult.UNROUTABLE
        case OneShotResult.NOT_TAKEN:
            return SubmitResult.UNCONFIRMED
