"""The errors of the client. No message holds a text, a whole number or a password.

ClientError
├── ConfigurationError     the URL, or a file for TLS, can't be used: raised before anything connects
├── AuthenticationError    the broker does not let us in: user, password, vhost or a certificate; a consumer raises it
├── InvalidCommand         the command is not valid: nothing was published
├── NotSent                of one command; `id` says which
│   ├── Unroutable         the exchange, or a queue behind it, is missing: the broker does not have the command
│   ├── CommandRefused     the broker refused it (a nack): the broker does not have the command
│   ├── LoginRefused       an AuthenticationError too: the broker does not have the command
│   ├── BrokerUnavailable  nothing could be written in time: the broker does not have the command
│   └── Unconfirmed        written, and no confirm came in time: the broker may have the command
├── BatchPartiallySent     of a batch; `sent` has the confirmed ones, `failed` the NotSent of each of the others
├── NoOutcomeYet           confirmed, but not all outcomes came in time
├── OutcomeError           an outcome is not `sent`; raised by `Result.raise_for_status` alone
├── QueueRefused           the broker refuses a consumer its queue
└── Closed                 the client was closed, or belongs to the process that this one was forked from
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.domain.errors import BridgeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.client.results import Result, Sent


#: Outcomes that an error's message names.
_SHOWN = 3

#: The message where another process owns the connection.
FORKED = "this process was forked from one that had begun to use this: make one after the fork"


class ClientError(BridgeError):
    """Base of what the client raises."""


class ConfigurationError(ClientError, ValueError):
    """A broker's URL, or a file for TLS, can't be used. No part of the URL is in the message."""


class AuthenticationError(ClientError):
    """The broker refuses user, password or virtual host, or a certificate is not accepted.

    A retry does not help: the configuration, the broker's users or the certificate have to change.
    """


class InvalidCommand(ClientError, ValueError):
    """A command that the bridge would call `invalid`, with every reason. Nothing was published."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(reasons)


class NotSent(ClientError):
    """A command was not confirmed by the broker. Sending it again with the same `id` never causes a second SMS."""

    def __init__(self, message: str, command_id: str) -> None:
        super().__init__(message)
        #: The command's id, also where the client made it.
        self.id = command_id


class Unroutable(NotSent):
    """The broker has no exchange, or no queue, for commands. It does not have this one."""


class CommandRefused(NotSent):
    """The broker refused the command. It does not have it."""


class LoginRefused(NotSent, AuthenticationError):
    """The broker does not let us in. It does not have the command."""


class BrokerUnavailable(NotSent, ConnectionError):
    """The broker could not be reached, or took nothing, in time. It does not have the command."""


class Unconfirmed(NotSent, ConnectionError):
    """No confirm came in time: the broker may have the command, or not."""


class BatchPartiallySent(ClientError):
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
        #: The outcomes so far.
        self.result = result


class OutcomeError(ClientError):
    """At least one destination of a command has an outcome other than `sent`."""

    def __init__(self, result: Result) -> None:
        failed = [one for one in result.outcomes if not one.is_sent]
        # Many destinations would make a page of it; `result` has them all.
        shown = ", ".join(one.summary for one in failed[:_SHOWN]) + (", ..." if len(failed) > _SHOWN else "")
        many = f"{len(failed)} of {result.sent.destinations} destinations not sent: "
        super().__init__(f"command {result.sent.id}: {many if result.sent.destinations > 1 else ''}{shown}")
        self.result = result
        #: As `Result.status`.
        self.status = result.status


class QueueRefused(ClientError):
    """The broker refuses a consumer its queue: a permission is missing, or the queue exists with other properties."""


class Closed(ClientError):
    """The client was closed, or this process was forked from one that had begun to use it."""
