"""What was delivered, until the worker knows what it says: a command to work on, or none, which is told.

receive ──▶ read ──▶ a command ──▶ take
              └──▶ none ──▶ told as invalid
                     └─ but once it was, by what the ledger knows ──▶ take
"""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import replace
from functools import partial
from sys import maxsize
from typing import TYPE_CHECKING

import structlog

from bridge.core.commands import Malformed, SendSms
from bridge.core.ledger import Known
from bridge.core.shown_ids import shown_id
from bridge.flows.commands import Received, read
from bridge.flows.dead import is_moved_letter
from bridge.runtime.jobs import Job
from bridge.runtime.metrics import GIVEN_UP

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from bridge.core.commands import CommandRules
    from bridge.ports import Delivery
    from bridge.runtime.desk import Desk
    from bridge.runtime.metrics import Metrics
    from bridge.runtime.settling import Settling
    from bridge.runtime.steady import SteadyClock
    from bridge.runtime.telling import Telling
    from bridge.runtime.tracing import CommandTracing
#: Of the names of properties, headers and fields in one line of the log: how many, and characters of each.
MOST_NAMES = 10
LONGEST_NAME = 100


class Receiving:
    """Reads deliveries. On the desk's thread, but for `receive` and `lose`."""

    def __init__(
        self,
        desk: Desk,
        settling: Settling,
        telling: Telling,
        *,
        rules: CommandRules,
        clock: SteadyClock,
        metrics: Metrics,
        stopping: threading.Event,
        take: Callable[[Job], None],
        refuse: Callable[[Job], None],
        tracing: CommandTracing | None,
    ) -> None:
        """`take` is given each command to work on, and `refuse` one that the ledger can't be asked about."""
        self._desk = desk
        self._settling = settling
        self._telling = telling
        self._rules = rules
        #: Which take whatever other settings may have taken: no other one makes a command invalid.
        self._lax = replace(rules, max_destinations=maxsize, unknown_fields="warn")
        self._clock = clock
        self._metrics = metrics
        self._stopping = stopping
        self._take = take
        self._refuse = refuse
        self._tracing = tracing
        #: What was not looked at yet. Each connection has its own, which is emptied when that is lost.
        self._delivered: deque[Delivery] = deque()
        self._log = structlog.get_logger()

    def receive(self, delivery: Delivery) -> None:
        """Take a delivery. From the source's thread; returns at once."""
        self._delivered.append(delivery)
        self._desk.post(partial(self._on_received, self._delivered))

    def lose(self) -> None:
        """Forget what was not looked at: the broker has it back. From the source's thread."""
        # At once: the desk may be waiting for the ledger, and connections may come and go meanwhile.
        self._delivered.clear()
        self._delivered = deque()

    @property
    def delivered(self) -> tuple[Delivery, ...]:
        """What was not looked at yet. From any thread: the copy is one step of the interpreter."""
        return tuple(self._delivered)

    def _on_received(self, delivered: deque[Delivery]) -> None:
        try:
            delivery = delivered.popleft()
        except IndexError:
            # Its connection was lost meanwhile.
            return
        self._metrics.commands.inc()
        if self._stopping.is_set():
            self._settling.source.give_back(delivery)
        else:
            self._look_at(delivery)

    def _look_at(self, delivery: Delivery) -> None:
        received = self._read(delivery, self._rules)
        if is_moved_letter(delivery, rules=self._rules, now=self._clock.now()):
            job = self._job(received, submissions=1)
            self._telling.put_back(job)
            self._settling.finish(job)
            return
        parsed = received.parsed
        if delivery.given_up is not None:
            self._note_given_up(received, delivery.given_up)
        if delivery.unreadable:
            names = [name[:LONGEST_NAME] for name in delivery.unreadable[:MOST_NAMES]]
            self._log.warning("command.partly_unreadable", command_id=shown_id(parsed), names=names)
        if parsed.unknown_fields and not (received.delayed or delivery.redelivered):
            self._metrics.unknown_fields.inc()
            self._log.warning(
                "command.unknown_fields", command_id=shown_id(parsed), names=list(parsed.unknown_fields)
            )
        if not isinstance(parsed, Malformed):
            self._take(self._job(received, submissions=len(parsed.destinations)))
            return
        # In hand from here on: a stop waits for it.
        job = self._job(received, submissions=1)
        if received.delayed or delivery.redelivered:
            # It may have been taken by rules that have been changed since, and have been sent.
            anew = self._read(delivery, self._lax)
            if isinstance(anew.parsed, SendSms) and anew.parsed.id is not None:
                known = Known(command_id=anew.parsed.id)
                self._desk.change(known, partial(self._on_looked_up, job, anew, anew.parsed))
                return
        self._tell_invalid(job)

    def _note_given_up(self, received: Received, reason: str) -> None:
        self._metrics.given_up[reason if reason in GIVEN_UP else "other"].inc()
        self._log.warning(
            "command.given_up",
            command_id=shown_id(received.parsed),
            reason=reason,
            hint="its AMQP expiration ran out, or a policy of the broker's or the delivery limit took it off the queue",
        )

    def _on_looked_up(self, job: Job, anew: Received, command: SendSms, content_hash: object) -> None:
        if job.given_back or self._stopping.is_set():
            job.given_back = True
            self._settling.end(job)
        elif content_hash is None:
            self._refuse(job)
        elif content_hash != command.content_hash:
            self._tell_invalid(job)
        else:
            job.read_anew(anew, submissions=len(command.destinations))
            self._take(job)

    def _tell_invalid(self, job: Job) -> None:
        self._telling.invalid(job)
        self._settling.finish(job)

    def _read(self, delivery: Delivery, rules: CommandRules) -> Received:
        return read(delivery, rules=rules, now=self._clock.now(), new_id=_new_id)

    def _job(self, received: Received, submissions: int) -> Job:
        job = Job(received, submissions)
        if self._tracing is not None:
            job.trace(self._tracing.received(received))
        self._settling.take(job)
        return job


def _new_id() -> str:
    return str(uuid.uuid4())
