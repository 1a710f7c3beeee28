"""The asyncio client: publishes commands with publisher confirms, and can wait for their outcomes."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Self, Unpack

from bridge.client.aio.loop_event import LoopEvent, run_aside
from bridge.client.arguments import seconds
from bridge.client.commands import Command, Fields
from bridge.client.engine import TIMEOUT, WAIT, Engine
from bridge.client.errors import InvalidCommand

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.client.commands import Ready
    from bridge.client.options import Options
    from bridge.client.results import Result, Sent

#: Commands of a batch that are judged before other tasks run: a few milliseconds.
_AT_ONCE = 100


class Client:
    """Sends commands. Connects at the first use, and reconnects after a loss.

    Tasks may share a client. No call blocks the loop or takes a thread: a separate thread owns the connection and sends
    heartbeats also while the loop is busy. Processes may not share one: a process that was forked after the first
    command must create another client.

    A cancelled call (by `asyncio.timeout`, for example) publishes nothing more. A command that was written before may
    be on the broker; send it again with the same id.
    """

    def __init__(
        self, url: str | Sequence[str], options: Options | None = None, *, timeout: float = TIMEOUT
    ) -> None:
        """Take what `bridge.client.Client` takes. Needs no running loop.

        Raises:
            ConfigurationError: the URL, or a file for TLS, can't be used.
            TypeError, ValueError: an argument has a wrong type or an impossible value.

        """
        self._engine = Engine(url, options, timeout=timeout)

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Close the connection. Calls that other tasks wait for end without a confirm."""
        await run_aside(self._engine.close)

    async def send(self, **fields: Unpack[Fields]) -> Sent:
        """Return once the broker has the command on its disks. The fields are those of `Command`.

        Raises:
            InvalidCommand: a worker would not take it; nothing was published.
            NotSent: the broker did not confirm it; the subclass says whether the broker may have it. `LoginRefused` is
                raised at once.
            Closed: this client was closed.

        """
        ready = self._engine.prepare(Command(**fields))
        answered = LoopEvent()
        batch = self._engine.publish([ready], answered=answered, ended=answered)
        try:
            await answered.wait(self._engine.timeout)
        finally:
            self._engine.give_up(batch)
        return self._engine.sent_one(ready, batch)

    async def send_many(self, commands: Iterable[Command], *, timeout: float | None = None) -> list[Sent]:
        """Publish all commands, many in flight at once; return once the broker has confirmed the last.

        `timeout` is for all together, in seconds. Nothing is published unless all are valid.

        Raises:
            InvalidCommand: some are not valid; each reason begins with the position of the command.
            BatchPartiallySent: some were not confirmed; it has the confirmed ones, and the error of each of the others.
            Closed: this client was closed.

        """
        within = self._engine.timeout if timeout is None else seconds("timeout", timeout)
        ready = await self._prepare_all(commands)
        if not ready:
            return []
        answered = LoopEvent()
        batch = self._engine.publish(ready, answered=answered, ended=answered)
        try:
            await answered.wait(within)
        finally:
            self._engine.give_up(batch)
        return self._engine.sent(ready, batch, within)

    async def send_and_wait(self, *, wait: float = WAIT, **fields: Unpack[Fields]) -> Result:
        """Send a command as `send` does, and return its outcomes once all are there.

        If the connection is lost, the command is published again: under the same id its outcomes are
        published again too, and it is not sent twice.

        Raises:
            NoOutcomeYet: not all came within `wait` seconds after the confirm; the command is still processed.
            InvalidCommand, NotSent, Closed: as with `send`.

        """
        wait = seconds("wait", wait, zero=True)
        ready = self._engine.prepare(Command(**fields))
        answered, ended = LoopEvent(), LoopEvent()
        batch = self._engine.publish([ready], answered=answered, ended=ended, awaits=True)
        try:
            await answered.wait(self._engine.timeout)
            sent = self._engine.sent_one(ready, batch)
            await ended.wait(wait)
        finally:
            self._engine.give_up(batch)
        return self._engine.result(sent, batch)

    async def _prepare_all(self, commands: Iterable[Command]) -> list[Ready]:
        """Judge commands a few at a time, so that other tasks run in between."""
        ready: list[Ready] = []
        reasons: list[str] = []
        left = iter(self._engine.iterable(commands))
        for first in itertools.count(0, _AT_ONCE):
            some = list(itertools.islice(left, _AT_ONCE))
            if not some:
                break
            try:
                ready += self._engine.prepare_all(some, first=first)
            except InvalidCommand as e:
                reasons += e.reasons
            await asyncio.sleep(0)
        if reasons:
            raise InvalidCommand(reasons)
        return ready
