"""What can go wrong for who uses the client. No message holds a text, a whole number or a password.

ClientError
├── InvalidCommand   the command is none: nothing was published
├── NotSent          of one command; `id` says which
│   ├── Unroutable   the exchange, or a queue behind it, is missing: it is not on the broker
│   ├── Refused      the broker refused it (a nack): it is not on the broker
│   ├── BrokerAway   nothing could be written in time: it is not on the broker
│   └── Unconfirmed  written, and no confirm came in time: it may be on the broker, or not
├── PartlySent       of a batch; `sent` has what was confirmed, `failed` the NotSent of each of the others
├── NoOutcomeYet     sent, but not all outcomes came in time
├── QueueRefused     a consumer may not have its queue, or finds it with other properties
└── Closed           the client was closed, or belongs to the process that this one was forked from
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.core.errors import BridgeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.client.results import Result, Sent


#: Said where a connection is another process's.
FORKED = "this process was forked from one that had begun to use this: make one after the fork"


class ClientError(BridgeError):
    """Base of what the client raises."""


class InvalidCommand(ClientError, ValueError):
    """A command that the bridge would call `invalid`, with every reason. Nothing was published."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(reasons)


class NotSent(ClientError):
    """A command was not confirmed by the broker. To send it again under the same `id` is never a second SMS."""

    def __init__(self, message: str, command_id: str) -> None:
        super().__init__(message)
        #: The command's id, also where the client made it.
        self.id = command_id


class Unroutable(NotSent):
    """The broker has no exchange, or no queue, for commands. It does not have this one."""


class Refused(NotSent):
    """The broker refused the command. It does not have it."""


class BrokerAway(NotSent, ConnectionError):
    """The broker could not be reached, or took nothing, in time. It does not have the command."""


class Unconfirmed(NotSent, ConnectionError):
    """No confirm came in time: the broker may have the command, or not."""


class PartlySent(ClientError):
    """Some commands of a batch were not confirmed."""

    def __init__(self, sent: Sequence[Sent], failed: Sequence[NotSent]) -> None:
        super().__init__(
            f"{len(failed)} of {len(sent) + len(failed)} commands not sent, the first: {failed[0]}"
        )
        self.sent = tuple(sent)
        self.failed = tuple(failed)


class NoOutcomeYet(ClientError, TimeoutError):
    """The command is on the broker, and not all of its outcomes came in time; they follow as events."""

    def __init__(self, result: Result) -> None:
        there = f"{len(result.outcomes)} of {result.sent.destinations} outcomes came in time"
        super().__init__(f"command {result.sent.id}: {there}")
        #: What there is so far.
        self.result = result


class QueueRefused(ClientError):
    """The broker refuses a consumer its queue: a right is missing, or it is there with other properties."""


class Closed(ClientError):
    """The client was closed, or this process was forked from one that had begun to use it."""
