"""A fault scenario: a real broker, the simulator in this process, workers that are killed and restarted, a verdict.

commands (confirmed) x provider's journal (a unique text each) x events (bound before the start) x dead letters
x ledger -> a verdict
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from amqp.exceptions import AMQPError, MessageNacked

from bridge.domain.events import TERMINAL
from tests.acceptance.conftest import CANARIES
from tests.faults.report import Row
from tests.faults.stack import (
    DESTINATIONS,
    HELD,
    OPEN,
    READ_BY_OTHERS,
    TIMEOUT,
    Stack,
)
from tests.faults.verdict import Run, Verdict, judge
from tests.harness.broker_client import COLLECTOR, BrokerClient, Message, read_message
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class Publisher(Protocol):
    """Publishes commands."""

    def publish(self, body: bytes, /) -> None:
        """Publish a command and wait for the confirm."""
        ...

    def close(self) -> None:
        """Close the connection in any state."""
        ...


class Scenario(Stack):
    """A fault scenario: the commands that were sent, and the verdict on all that came of them."""

    def open_rows(self) -> int:
        """Count the submissions without an outcome; a restored ledger has lost some that were published."""
        if not self.restored:
            return self.rows(OPEN)
        found = self._asked(f"SELECT command_id FROM submissions WHERE {OPEN}")  # noqa: S608 - the tests' words
        return len({row[0] for row in found} - self.published().keys())

    def resumes(self, within: float = 20) -> None:
        """Wait until the provider takes the next send, and note how long that was."""
        began, before = time.monotonic(), self.accepted
        wait_until(lambda: self.accepted > before, within, what="sends go on")
        self.recovery = max(self.recovery or 0.0, time.monotonic() - began)

    # -- commands ------------------------------------------------------------------------------------------------

    def command(
        self, fault: Mapping[str, object] | None = None, more: str = "", /, **fields: object
    ) -> tuple[str, bytes]:
        """Make a command with a unique text, and `more`; the provider will have `fault` for it.

        Returns id and body.
        """
        number = next(self._numbers)
        command_id, own_text = f"c{number:05}", f"canary <t{number:05}>{more}"
        body: dict[str, object] = {
            "id": command_id,
            "destination_address": f"+1613555{number % DESTINATIONS:04}",
            "message": own_text,
            **fields,
        }
        if fault is not None:
            self.provider.faults({**fault, "text": f"<t{number:05}>"})
        self.commands[command_id] = own_text
        return command_id, json.dumps(body).encode()

    def send(
        self, number: int = 1, fault: Mapping[str, object] | None = None, more: str = "", **fields: object
    ) -> list[str]:
        """Publish so many commands, each confirmed, and return their ids."""
        made = [self.command(fault, more, **fields) for _ in range(number)]
        self.publish([body for _, body in made])
        return [command_id for command_id, _ in made]

    def publish(self, bodies: Iterable[bytes]) -> None:
        """Publish, each confirmed."""
        self._publish(list(bodies), self.amqp)

    def send_in_background(self, bodies: Iterable[bytes]) -> None:
        """Publish on a separate thread; a failed publish is repeated until it is confirmed."""
        made = list(bodies)

        def publish() -> None:
            with BrokerClient(self.amqp.url) as peer:
                self._publish(made, peer)

        self.in_background(publish)

    def in_background(self, work: Callable[[], None]) -> None:
        """Run `work` on a separate thread; `finish` waits for it and fails if it failed."""

        def run() -> None:
            try:
                work()
            except Exception as e:  # noqa: BLE001 - told by `finish`, on the test's own thread
                self._failed.append(e)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _publish(self, bodies: list[bytes], peer: Publisher) -> None:
        pause = threading.Event()
        for body in bodies:
            for _ in range(400):
                try:
                    peer.publish(body)
                    break
                except (AMQPError, MessageNacked, OSError):
                    # It may be stored all the same: then there are two of it, which are one command.
                    peer.close()
                    pause.wait(0.1)
            else:
                raise AssertionError("a command could not be published")

    # -- the results -------------------------------------------------------------------------------------------

    def published(self) -> dict[str, str]:
        """Return the last word of the outcome's type for each command that has one."""
        self._drain()
        return {
            str(message.json.get("subject")): message.routing_key.rpartition(".")[2]
            for message in self.events
            if message.routing_key in TERMINAL
        }

    def events_of(self, command_id: str) -> list[Message]:
        """Return the events of a command so far, in order."""
        self._drain()
        return [message for message in self.events if message.json.get("subject") == command_id]

    def wait_confirmed(self, ids: Iterable[str] | None = None, within: float = 60) -> dict[str, str]:
        """Wait until all commands, or those with `ids`, have an outcome."""
        missing: set[str] = set()

        def all_published() -> bool:
            nonlocal missing
            missing = set(self.commands if ids is None else ids) - self.published().keys()
            return not missing

        try:
            wait_until(all_published, within * TIMEOUT, every=0.1, what="outcomes")
        except AssertionError:
            shown = {id_: [m.routing_key for m in self.events_of(id_)] for id_ in sorted(missing)[:3]}
            raise AssertionError(
                f"{len(missing)} commands have no outcome in {within} s, as {shown}"
            ) from None
        return self.published()

    def _drain(self) -> None:
        with contextlib.suppress(AMQPError, OSError), self.amqp.channel() as channel:
            while (message := channel.basic_get(COLLECTOR)) is not None:
                channel.basic_ack(message.delivery_tag)
                self.events.append(read_message(message))

    def finish(self, *, within: float = 60) -> Verdict:
        """Wait until all is published and quiet; add the row to the report, and return the verdict."""
        for thread in self._threads:
            thread.join(within)
        assert not self._failed, self._failed
        try:
            self.wait_confirmed(within=within)
            wait_until(self.is_idle, 40 * TIMEOUT, every=0.3, what="idle")
        except AssertionError as late:
            # Judged all the same: what is missing is a violation, and its row says so.
            print(late)
            print(self._state())
        verdict = self.judged()
        self.note(verdict)
        return verdict

    def judged(self) -> Verdict:
        """Judge all that is left of the run so far."""
        return judge(self.left())

    def note(self, verdict: Verdict) -> None:
        """Put the scenario's row into the report."""
        self._report.note(
            Row(
                scenario=self.name,
                seed=self.seed,
                fired=self.fired,
                commands=len(self.commands),
                verdict=verdict,
                recovery=self.recovery,
                rss=self.rss,
            )
        )

    def kept(self, *, within: float = 60) -> Verdict:
        """As `finish`; fails where a promise was broken or no fault fired."""
        verdict = self.finish(within=within)

        assert verdict.violations == ()
        assert self.fired, "no fault fired"
        assert all(self.fired.values()), self.fired
        return verdict

    def letters(self) -> list[Message]:
        """Take every dead letter off its queue."""
        taken: list[Message] = []
        with contextlib.suppress(AMQPError, OSError):
            while (letter := self.amqp.get("sms.dead")) is not None:
                taken.append(letter)
        return taken

    def put_letter(self, letter: Message) -> None:
        """Put a dead letter on its queue, as it was."""
        properties = {key: value for key, value in letter.properties.items() if key != "delivery_mode"}
        self.amqp.publish(
            letter.body, exchange="", routing_key="sms.dead", headers=letter.headers, **properties
        )

    def left(self) -> Run:
        """Return all that is left of the run so far; the dead letters are off their queue then."""
        metrics = ""
        for worker in self.workers:
            if worker.returncode is None:
                self._measure(worker)
                metrics += worker.admin("/metrics")[1]
        self._drain()
        said = [line for w in self.workers for line in (w.stdout + w.logs).splitlines()]
        ended = [w.returncode for w in self.workers if w not in self.killed and w.returncode is not None]
        return Run(
            commands=self.commands,
            journal=self.provider.journal(),
            events=self.events,
            dead=self.letters(),
            crashed=self.crashed,
            restored=self.restored,
            queued=self.queued(),
            open_rows=self.open_rows(),
            exits=ended,
            leaks=[line for line in [*said, *metrics.splitlines()] if CANARIES.search(line)],
            others=frozenset(self.others),
            unknown_clients=frozenset(self.unknown_clients),
        )

    def queued(self) -> int:
        """Count what waits on the bridge's queues, the delay's included, and what the workers hold."""
        held = 0
        for worker in self.workers:
            if worker not in self.killed and worker.returncode is None:
                counts = HELD.findall(worker.admin("/metrics")[1])
                # A worker that does not answer may hold anything.
                held += sum(int(float(count)) for count in counts) if counts else 1
        return held + sum(self.amqp.depth(name) for name in self._own_queues())

    def is_idle(self) -> bool:
        """Whether nothing waits, is held or is open; asked twice, since what is on its way is nowhere."""
        return all(self.queued() == 0 and self.open_rows() == 0 for _ in range(2))

    def _state(self) -> str:
        """Return where what is missing may lie: what the broker and the ledger say of it."""
        of_queues = ("name", "messages_ready", "messages_unacknowledged", "consumers", "state")
        queues = self.broker.ctl("list_queues", "-p", self.vhost, *of_queues)
        consumers = self.broker.ctl("list_consumers", "-p", self.vhost)
        columns = "command_id, position, state, owner, lease_until, retry_at, attempts, crashes"
        rows = self._asked(f"SELECT {columns} FROM submissions WHERE {OPEN}")  # noqa: S608 - the tests' own words
        return "\n".join(
            [queues, consumers, *map(str, rows), *(worker.logs[-3000:] for worker in self.workers[-2:])]
        )

    def _own_queues(self) -> list[str]:
        # By the names alone: the counts that the broker knows of quorum queues are seconds old.
        if not self._queues:
            listed = self.broker.queues(self.vhost)
            self._queues = [name for name in listed if name.startswith("sms") and name not in READ_BY_OTHERS]
        return self._queues

    def wait(self, condition: Callable[[], Any], within: float = 20, what: str = "") -> Any:
        """Wait for anything."""
        return wait_until(condition, within, every=0.05, what=what)
