"""The rate at which commands become SMS and events, and its cost."""

from __future__ import annotations

import statistics
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import machine
from benchmarks.contestants import publish_command
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.contestants import Sender
    from benchmarks.field import Field, Pitch, Running

WARM_UP = 300


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to measure."""

    #: Seconds that the provider takes for a call.
    latency: float
    in_flight: int
    processes: int = 1
    commands: int

    @property
    def name(self) -> str:
        """Its name in the table."""
        more = "" if self.processes == 1 else f", {self.processes} processes"
        return f"{self.latency * 1000:.0f} ms, {self.in_flight} in flight{more}"

    @property
    def ideal(self) -> float:
        """Messages a second if nothing but the provider took time; infinite where it takes none."""
        return self.in_flight * self.processes / self.latency if self.latency else float("inf")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The result of one run."""

    per_second: float
    #: Seconds of processor for each 1,000 messages.
    processor: float
    #: MB at the end.
    memory: float


def measure(field: Field, who: Sender, setting: Setting) -> Cost:
    """Let `who` work off a backlog."""
    with _warm(field, who, setting) as (pitch, running):
        before = pitch.depth()
        with running.stalled():
            who.publish(pitch, setting.commands)
            wait_until(
                lambda: pitch.depth(who.queue) + 4 * setting.in_flight >= setting.commands, 120, every=0.1
            )
        pitch.wait_events(before + setting.commands)
        seconds, processor = running.cost()
        return Cost(
            per_second=setting.commands / seconds,
            processor=processor / setting.commands * 1000,
            memory=machine.memory(running.pid),
        )


def idle_latency(field: Field, who: Sender, commands: int) -> list[float]:
    """Return the seconds from each command's publication to its call, one command at a time."""
    setting = Setting(latency=0.0, in_flight=16, commands=commands)
    taken = []
    with _warm(field, who, setting) as (pitch, _):
        for number in range(commands):
            stored_event = pitch.depth()
            name = uuid.uuid4().hex
            published = time.time()
            publish_command(pitch.channel, name)
            wait_until(lambda: pitch.depth() > stored_event, 30, every=0.001, what=f"command {number}")  # noqa: B023
            taken += [at - published for at, text in pitch.arrivals() if text == name]
    return taken


@contextmanager
def _warm(field: Field, who: Sender, setting: Setting) -> Iterator[tuple[Pitch, Running]]:
    with field.pitch(setting.latency) as pitch:
        pitch.collect(who.events)
        running = who.start(pitch, setting.in_flight, setting.processes)
        try:
            wait_until(
                lambda: field.broker.consumers(pitch.host, who.queue) >= setting.processes,
                60,
                what=f"{who.name} to consume",
            )
            who.publish(pitch, WARM_UP)
            pitch.wait_events(WARM_UP)
            pitch.arrivals()
            yield pitch, running
        finally:
            running.stop()


def percentile(values: list[float], share: float) -> float:
    """Return the value that `share` of all do not exceed."""
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]
