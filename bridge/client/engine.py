"""The common part of both clients: validates commands, passes them to the connection's thread and reads the answers.

`Client` waits on threads, `aio.Client` on an event loop; both have one of these.
"""

from __future__ import annotations

import os
import threading
import uuid
from importlib.util import find_spec
from typing import TYPE_CHECKING

from bridge.adapters.amqp.batch import Batch, BrokerAnswer, Sending
from bridge.adapters.amqp.connection_thread import ConnectionOptions
from bridge.adapters.amqp.replies import command_properties
from bridge.adapters.amqp.sender import Sender
from bridge.adapters.clock import SystemClock
from bridge.client.arguments import not_a, seconds, wrong_type
from bridge.client.commands import Command, make_ready
from bridge.client.errors import (
    FORKED,
    BatchPartiallySent,
    BrokerUnavailable,
    Closed,
    CommandRefused,
    InvalidCommand,
    LoginRefused,
    NoOutcomeYet,
    NotSent,
    Unconfirmed,
    Unroutable,
)
from bridge.client.events import NotAnEvent, Outcome, event_from
from bridge.client.log import ClientLog
from bridge.client.options import checked_options
from bridge.client.results import Result, Sent
from bridge.domain.commands import CommandRules
from bridge.domain.contracts.commands import SEND
from bridge.domain.messages import Outgoing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bridge.adapters.amqp.batch import Signal
    from bridge.client.commands import Ready
    from bridge.client.options import Options

#: Seconds that the broker may take to confirm, a connection and a second try included.
TIMEOUT = 10.0
#: Seconds that the outcomes of a command may take.
WAIT = 30.0
#: Seconds that a connection may always take to confirm before it is not trusted any more.
_TIMEOUT = 2.0
_REMEDY = "start a worker, or run `bridge topology declare`"


class Engine:
    """Publishes commands on a connection that is opened when first needed. Every method may be called on any thread."""

    def __init__(self, url: str | Sequence[str], options: Options | None, *, timeout: float) -> None:
        """`timeout`: seconds for each confirm.

        Raises:
            ConfigurationError: the URL, or a file for TLS, can't be used.
            TypeError, ValueError: an argument has a wrong type or an impossible value.

        """
        options = checked_options(options)
        self.timeout = seconds("timeout", timeout)
        self._exchange, self._prefix = options.commands, options.prefix
        self._rules = CommandRules(
            max_destinations=options.max_destinations,
            default_region=options.default_region,
            # Not a dependency: it is six times as large as all else here. The worker validates again.
            checks_length=find_spec("phonenumbers") is not None,
        )
        self._clock = SystemClock()
        log = ClientLog(is_raised=True, connection=options.name)
        self._sender = Sender(
            ConnectionOptions(options.address(url), options.name, self._clock, log=log),
            exchange=self._exchange,
            # A connection that went silent is given up while there is time to try another one.
            deadline=max(_TIMEOUT, self.timeout / 2),
        )
        self._starting = threading.Lock()
        self._process: int | None = None
        self._closed = False

    def close(self) -> None:
        """Close the connection, within 5 s; wake the callers that still wait. Blocks until then."""
        with self._starting:
            self._closed = True
        if self._process == os.getpid():
            self._sender.stop()

    def prepare(self, command: Command) -> Ready:
        """Return a command as it is published.

        Raises:
            InvalidCommand: a worker would not take it.

        """
        return make_ready(command, rules=self._rules, now=self._clock.now())

    @staticmethod
    def iterable(commands: Iterable[Command]) -> Iterable[Command]:
        """Return the commands of a batch, which are not validated yet.

        Raises:
            TypeError: they cannot be iterated over.

        """
        if isinstance(commands, Command | str) or not hasattr(commands, "__iter__"):
            raise wrong_type("commands", commands, "a list of Command")
        return commands

    def prepare_all(self, commands: Iterable[Command], *, first: int = 0) -> list[Ready]:
        """Return commands as they are published; `first` is the position of the first one in its batch.

        Raises:
            InvalidCommand: some are not valid; each reason begins with the position of the command.

        """
        ready: list[Ready] = []
        reasons: list[str] = []
        for position, command in enumerate(commands, first):
            if not isinstance(command, Command):
                reasons.append(not_a(f"commands[{position}]", command, "a Command"))
                continue
            try:
                ready.append(self.prepare(command))
            except InvalidCommand as e:
                reasons += [f"commands[{position}]: {reason}" for reason in e.reasons]
        if reasons:
            raise InvalidCommand(reasons)
        return ready

    def publish(
        self, ready: Sequence[Ready], *, answered: Signal, ended: Signal, awaits: bool = False
    ) -> Batch:
        """Publish commands; the signals are set as `Batch` describes. Returns at once.

        The caller calls `give_up` once it has stopped waiting. `ended` is for a single command that `awaits` outcomes.

        Raises:
            Closed: this client was closed.

        """
        batch = Batch([self._sending(one, awaits=awaits) for one in ready], answered=answered, ended=ended)
        with self._starting:
            self._start()
        self._sender.publish(batch)
        return batch

    def give_up(self, batch: Batch) -> None:
        """Stop writing a batch: its caller does not wait for it."""
        self._sender.give_up(batch)

    def sent(self, ready: Sequence[Ready], batch: Batch, timeout: float) -> list[Sent]:
        """Return the commands of a batch as they were confirmed. `timeout` is how long the caller waited, in seconds.

        Raises:
            NotSent: the broker did not confirm the only one.
            BatchPartiallySent: it did not confirm some of several.

        """
        sent: list[Sent] = []
        failed: list[NotSent] = []
        for one, sending in zip(ready, batch.sendings, strict=True):
            error = self._error(one, sending, timeout)
            if error is None:
                sent.append(Sent(one.id, one.destinations))
            else:
                failed.append(error)
        if failed:
            raise BatchPartiallySent(sent, failed)
        return sent

    def sent_one(self, ready: Ready, batch: Batch) -> Sent:
        """Return the only command of a batch as it was confirmed.

        Raises:
            NotSent: the broker did not confirm it.

        """
        error = self._error(ready, batch.sendings[0], self.timeout)
        if error is not None:
            raise error
        return Sent(ready.id, ready.destinations)

    def result(self, sent: Sent, batch: Batch) -> Result:
        """Return the outcomes of the only command of a batch.

        Raises:
            NoOutcomeYet: not all are there.

        """
        (sending,) = batch.sendings
        result = Result(sent, tuple(_outcomes(sending)))
        if not sending.is_complete:
            raise NoOutcomeYet(result)
        return result

    # --- inside --------------------------------------------------------------------------------------------------

    def _sending(self, ready: Ready, *, awaits: bool) -> Sending:
        correlation = {"correlation_id": str(uuid.uuid4())} if awaits else {}
        message = Outgoing(
            exchange=self._exchange,
            routing_key=SEND,
            body=ready.body,
            properties={**command_properties(ready.id, now=self._clock.now()), **correlation},
            headers=ready.headers,
        )
        return Sending(message, awaits=ready.destinations if awaits else 0)

    def _start(self) -> None:
        if self._closed:
            raise Closed("this client is closed")
        if self._sender.ended:
            raise Closed("the thread of its connection has crashed: see the log of bridge.client")
        if self._process is None:
            self._process = os.getpid()
            self._sender.start()
        elif self._process != os.getpid():
            raise Closed(FORKED)

    def _error(self, ready: Ready, sending: Sending, timeout: float) -> NotSent | None:
        """Return the meaning of the broker's answer, or of none; None for a confirm."""
        if sending.answer is BrokerAnswer.CONFIRMED:
            return None
        error, reason = self._failure(sending.answer, timeout)
        if sending.may_be_there:
            return Unconfirmed(f"not confirmed: {reason}", ready.id)
        return error(reason, ready.id)

    def _failure(self, answer: BrokerAnswer | None, timeout: float) -> tuple[type[NotSent], str]:
        """Return the meaning of an answer, or of none, for a command that the broker does not have, and the reason."""
        exchange = self._exchange
        if answer is BrokerAnswer.LACKING:
            return Unroutable, f"the broker has no exchange {exchange}: {_REMEDY}"
        if answer is BrokerAnswer.RETURNED:
            queue = f"the command queue, {self._prefix}.send by default, is missing"
            return Unroutable, f"the exchange {exchange} has no queue for the key {SEND}: {queue}: {_REMEDY}"
        if answer is BrokerAnswer.REFUSED:
            return CommandRefused, f"the broker refused it: is the queue behind {exchange} full?"
        if self._closed:
            return BrokerUnavailable, "the client was closed"
        if self._sender.refusal:
            return LoginRefused, self._sender.refusal
        return BrokerUnavailable, self._sender.problem or f"no answer within {timeout:g} s"


def _outcomes(sending: Sending) -> Iterator[Outcome]:
    """Yield the outcomes in the order of the destinations; pass over replies that are not outcomes."""
    for reply in sorted(sending.outcomes.values(), key=lambda reply: reply["data"].get("index") or 0):
        try:
            event = event_from(reply)
        except NotAnEvent:
            continue
        if isinstance(event, Outcome):
            yield event
