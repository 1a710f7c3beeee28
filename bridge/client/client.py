"""The blocking client: publishes commands with publisher confirms, and can wait for their outcomes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self, Unpack

from bridge.client.arguments import seconds
from bridge.client.commands import Command, Fields
from bridge.client.engine import TIMEOUT, WAIT, Engine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.client.options import Options
    from bridge.client.results import Result, Sent


class Client:
    """Sends commands. Connects at the first use, and reconnects after a loss.

    Threads may share a client: a separate thread owns the connection and sends the heartbeats, and the commands of all
    threads are in flight at once. Processes may not share one: a process that was forked after the first command must
    create another client. An asyncio program uses `bridge.client.aio.Client`.
    """

    def __init__(
        self, url: str | Sequence[str], options: Options | None = None, *, timeout: float = TIMEOUT
    ) -> None:
        """`url` is the broker's, or a list of them: they are tried in their order; `timeout`: seconds for each confirm.

        A string with commas between URLs is a list, too.

        Raises:
            ConfigurationError: the URL, or a file for TLS, can't be used.
            TypeError, ValueError: an argument has a wrong type or an impossible value.

        """
        self._engine = Engine(url, options, timeout=timeout)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connection. Calls that wait on other threads end without a confirm."""
        self._engine.close()

    def send(self, **fields: Unpack[Fields]) -> Sent:
        """Return once the broker has the command on its disks. The fields are those of `Command`.

        Raises:
            InvalidCommand: a worker would not take it; nothing was published.
            NotSent: the broker did not confirm it; the subclass says whether the broker may have it. `LoginRefused` is
                raised at once.
            Closed: this client was closed.

        """
        ready = self._engine.prepare(Command(**fields))
        answered = threading.Event()
        batch = self._engine.publish([ready], answered=answered, ended=answered)
        try:
            answered.wait(self._engine.timeout)
        finally:
            self._engine.give_up(batch)
        return self._engine.sent_one(ready, batch)

    def send_many(self, commands: Iterable[Command], *, timeout: float | None = None) -> list[Sent]:
        """Publish all commands, many in flight at once; return once the broker has confirmed the last.

        `timeout` is for all together, in seconds. Nothing is published unless all are valid.

        Raises:
            InvalidCommand: some are not valid; each reason begins with the position of the command.
            BatchPartiallySent: some were not confirmed; it has the confirmed ones, and the error of each of the others.
            Closed: this client was closed.

        """
        within = self._engine.timeout if timeout is None else seconds("timeout", timeout)
        ready = self._engine.prepare_all(self._engine.iterable(commands))
        if not ready:
            return []
        answered = threading.Event()
        batch = self._engine.publish(ready, answered=answered, ended=answered)
        try:
            answered.wait(within)
        finally:
            self._engine.give_up(batch)
        return self._engine.sent(ready, batch, within)

    def send_and_wait(self, *, wait: float = WAIT, **fields: Unpack[Fields]) -> Result:
        """Send a command as `send` does, and return its outcomes once all are there.

        If the connection is lost, the command is published again: under the same id its outcomes are
        published again too, and it is not sent twice.

        Raises:
            NoOutcomeYet: not all came within `wait` seconds after the confirm; the command is still processed.
            InvalidCommand, NotSent, Closed: as with `send`.

        """
        wait = seconds("wait", wait, zero=True)
        ready = self._engine.prepare(Command(**fields))
        answered, ended = threading.Event(), threading.Event()
        batch = self._engine.publish([ready], answered=answered, ended=ended, awaits=True)
        try:
            answered.wait(self._engine.timeout)
            sent = self._engine.sent_one(ready, batch)
            ended.wait(wait)
        finally:
            self._engine.give_up(batch)
        return self._engine.result(sent, batch)
