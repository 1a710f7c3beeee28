"""The client: commands onto the broker, confirmed, and their outcomes back where somebody waits for them."""

from __future__ import annotations

import os
import threading
import uuid
from typing import TYPE_CHECKING, Self, Unpack

from bridge.adapters.amqp.batch import Answer, Batch, Sending
from bridge.adapters.amqp.replies import command_properties
from bridge.adapters.amqp.sender import Sender
from bridge.adapters.clock import SystemClock
from bridge.client.commands import Command, Fields, Ready, make_ready
from bridge.client.errors import (
    FORKED,
    BrokerAway,
    Closed,
    InvalidCommand,
    NoOutcomeYet,
    NotSent,
    PartlySent,
    Refused,
    Unconfirmed,
    Unroutable,
)
from bridge.client.events import NotAnEvent, Outcome, event_from
from bridge.client.log import ClientLog
from bridge.client.options import Options
from bridge.client.results import Result, Sent
from bridge.core.commands import CommandRules
from bridge.core.contracts.commands import SEND
from bridge.ports import Outgoing

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Seconds that the broker may take to confirm, a connection and a second try included.
TIMEOUT = 10.0
#: Seconds that a connection may always take to confirm before it is not trusted any more.
PATIENCE = 2.0
#: Seconds that the outcomes of a command may take.
WAIT = 30.0


class Client:
    """Sends commands. Connects when first used, and again whenever it has to.

    Any number of threads may share one: none of them touches the connection, which has a thread of its own, so
    heartbeats go out whatever they do, and the commands of all are under way at once. Not so processes: one that was
    forked after the first command makes a client of its own.
    """

    def __init__(self, url: str, options: Options | None = None, *, timeout: float = TIMEOUT) -> None:
        """`url` is the broker's, or several separated by `;`, to try in turn. `timeout` is for each confirm."""
        self._options = options or Options()
        self._rules = CommandRules(
            max_destinations=self._options.max_destinations, default_region=self._options.default_region
        )
        self._timeout = timeout
        self._clock = SystemClock()
        self._sender = Sender(
            self._options.address(url),
            exchange=self._options.commands,
            clock=self._clock,
            name=self._options.name,
            log=ClientLog(is_raised=True, connection=self._options.name),
            # A connection that went silent is given up while there is time to try another one.
            deadline=max(PATIENCE, timeout / 2),
        )
        self._starting = threading.Lock()
        self._process: int | None = None
        self._closed = False

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connection. Who still waits in another thread is told that nothing came."""
        with self._starting:
            self._closed = True
            if self._process == os.getpid():
                self._sender.stop()

    def send(self, **fields: Unpack[Fields]) -> Sent:
        """Return once the broker has the command on its disks. The fields are those of `Command`.

        Raises:
            InvalidCommand: a worker would not take it; nothing was published.
            NotSent: the broker did not confirm it; its kinds say whether it may have it.
            Closed: this client was closed.

        """
        ready = self._ready(Command(**fields))
        batch = Batch([Sending(self._message(ready))])
        self._publish(batch, self._timeout)
        return self._sent(ready, batch.sendings[0], self._timeout)

    def send_many(self, commands: Iterable[Command], *, timeout: float | None = None) -> list[Sent]:
        """Publish all, many under way at once; return once the broker has confirmed the last.

        `timeout` is for all together. Nothing is published unless all are valid.

        Raises:
            InvalidCommand: some are not valid; each reason begins with the place of the command.
            PartlySent: some were not confirmed; it says which were, and what became of each of the others.
            Closed: this client was closed.

        """
        within = self._timeout if timeout is None else timeout
        ready = self._all_ready(commands)
        if not ready:
            return []
        batch = Batch([Sending(self._message(one)) for one in ready])
        self._publish(batch, within)
        sent: list[Sent] = []
        failed: list[NotSent] = []
        for one, sending in zip(ready, batch.sendings, strict=True):
            try:
                sent.append(self._sent(one, sending, within))
            except NotSent as e:
                failed.append(e)
        if failed:
            raise PartlySent(sent, failed)
        return sent

    def send_and_wait(self, *, wait: float = WAIT, **fields: Unpack[Fields]) -> Result:
        """Send a command as `send` does, and return its outcomes once all are there.

        The connection may be lost meanwhile: the command is published again then, since who asks again is told again.

        Raises:
            NoOutcomeYet: not all came within `wait` seconds from the confirm on; the command goes on all the same.
            InvalidCommand, NotSent, Closed: as with `send`.

        """
        ready = self._ready(Command(**fields))
        message = self._message(ready, correlation_id=str(uuid.uuid4()))
        batch = Batch([Sending(message, awaits=ready.destinations)])
        try:
            self._publish(batch, self._timeout, give_up=False)
            sent = self._sent(ready, batch.sendings[0], self._timeout)
            batch.wait_told(wait)
        finally:
            self._sender.give_up(batch)
        sending = batch.sendings[0]
        result = Result(sent, tuple(_outcomes(sending)))
        if not sending.is_complete:
            raise NoOutcomeYet(result)
        return result

    # --- inside --------------------------------------------------------------------------------------------------

    def _ready(self, command: Command) -> Ready:
        return make_ready(command, rules=self._rules, now=self._clock.now())

    def _all_ready(self, commands: Iterable[Command]) -> list[Ready]:
        ready: list[Ready] = []
        reasons: list[str] = []
        for number, command in enumerate(commands):
            try:
                ready.append(self._ready(command))
            except InvalidCommand as e:
                reasons += [f"commands[{number}]: {reason}" for reason in e.reasons]
        if reasons:
            raise InvalidCommand(reasons)
        return ready

    def _message(self, ready: Ready, **properties: object) -> Outgoing:
        return Outgoing(
            exchange=self._options.commands,
            routing_key=SEND,
            body=ready.body,
            properties={**command_properties(ready.id, now=self._clock.now()), **properties},
            headers=ready.headers,
        )

    def _publish(self, batch: Batch, timeout: float, *, give_up: bool = True) -> None:
        with self._starting:
            self._start()
        self._sender.publish(batch)
        try:
            batch.wait(timeout)
        finally:
            if give_up:
                self._sender.give_up(batch)

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

    def _sent(self, ready: Ready, sending: Sending, timeout: float) -> Sent:
        """Return what the broker's answer means.

        Raises:
            NotSent: it did not confirm.

        """
        if sending.answer is Answer.CONFIRMED:
            return Sent(ready.id, ready.destinations)
        error, reason = self._failure(sending.answer, timeout)
        if sending.may_be_there:
            raise Unconfirmed(f"not confirmed: {reason}", ready.id)
        raise error(reason, ready.id)

    def _failure(self, answer: Answer | None, timeout: float) -> tuple[type[NotSent], str]:
        """Return what an answer, or none, means for what the broker certainly has not got, and why."""
        exchange = self._options.commands
        if answer is Answer.LACKING:
            return Unroutable, f"the broker has no exchange {exchange}: {_REMEDY}"
        if answer is Answer.RETURNED:
            queue = f"the command queue, {self._options.prefix}.send by default, is missing"
            return Unroutable, f"the exchange {exchange} has no queue for the key {SEND}: {queue}: {_REMEDY}"
        if answer is Answer.REFUSED:
            return Refused, f"the broker refused it: is the queue behind {exchange} full?"
        if self._closed:
            return BrokerAway, "the client was closed meanwhile"
        return BrokerAway, self._sender.trouble or f"no answer within {timeout:g} s"


_REMEDY = "start a worker, or run `bridge topology declare`"


def _outcomes(sending: Sending) -> Iterable[Outcome]:
    """Yield what was told, in the order of the destinations; pass over what is no outcome."""
    for told in sorted(sending.told.values(), key=lambda told: told["data"].get("index") or 0):
        try:
            event = event_from(told)
        except NotAnEvent:
            continue
        if isinstance(event, Outcome):
            yield event
