"""The rate at which notifications become confirmed events, its cost, and the wait of the caller."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from benchmarks import machine
from benchmarks.callers import SECRET
from benchmarks.contestants import BRIDGE_PROGRAM, PEERS, PROGRAMS, bridge_env, run_bridge
from benchmarks.field import HERE, Running
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.field import Field, Pitch

CONNECTIONS = 64
WARM_UP = 500


@dataclass(frozen=True, kw_only=True)
class Taker:
    """Takes notifications and publishes them."""

    name: str
    events: str
    #: The command that starts it on a port, without its environment.
    command: tuple[str, ...]

    def start(self, pitch: Pitch, port: int) -> Running:
        """Start it."""
        if self.name == "Bridge":
            env = {
                **bridge_env(pitch),
                "BRIDGE_INGEST__PORT": str(port),
                "BRIDGE_INGEST__AUTHORIZATION": SECRET,
                "BRIDGE_INGEST__SPOOL": str(pitch.directory / "spool"),
            }
            run_bridge(env, "ledger", "migrate")
            return Running(self.command, env, pitch.directory, HERE.parent)
        env = {"BENCH_BROKER": pitch.broker, "BENCH_EVENTS": self.events, "BENCH_SECRET": SECRET}
        command = [word.format(port=port) for word in self.command]
        return Running(command, env, pitch.directory, PEERS)


BRIDGE = Taker(name="Bridge", events="sms.events", command=(BRIDGE_PROGRAM, "ingest"))
TAKERS = (
    BRIDGE,
    Taker(
        name="FastAPI + aio-pika",
        events="bench.told",
        command=(
            f"{PROGRAMS}/uvicorn", "fastapi_app:app", "--no-access-log", "--log-level", "error",
            "--port", "{port}",
        ),
    ),
    Taker(
        name="Flask + gunicorn + kombu",
        events="bench.told",
        command=(
            f"{PROGRAMS}/gunicorn", "flask_app:app", "--threads", "16", "--log-level", "error",
            "--keep-alive", "60", "--bind", "127.0.0.1:{port}",
        ),
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The result of one run."""

    per_second: float
    #: Seconds of processor for each 1,000 notifications.
    processor: float
    memory: float


def measure(field: Field, who: Taker, notifications: int) -> Cost:
    """Post as fast as it answers, on 64 connections."""
    with _warm(field, who) as (pitch, running, port):
        running.begin()
        answers = _post(port, notifications, 0)
        pitch.wait_events(WARM_UP + notifications)
        _, processor = running.cost()
        return Cost(
            per_second=notifications / answers["took"],
            processor=processor / notifications * 1000,
            memory=machine.memory(running.pid),
        )


def latency(field: Field, who: Taker, notifications: int, rate: float) -> list[float]:
    """Return the seconds to each answer at a constant `rate` of notifications a second."""
    with _warm(field, who) as (_, _, port):
        seconds: list[float] = _post(port, notifications, rate)["seconds"]
        return seconds


@contextmanager
def _warm(field: Field, who: Taker) -> Iterator[tuple[Pitch, Running, int]]:
    with field.pitch(0.0) as pitch:
        pitch.collect(who.events)
        port = free_port()
        running = who.start(pitch, port)
        try:
            wait_until(lambda: _listens(port), 30, what=f"{who.name} on its port")
            _post(port, WARM_UP, 0, first=10_000_000)
            pitch.wait_events(WARM_UP)
            yield pitch, running, port
        finally:
            running.stop()


def _listens(port: int) -> bool:
    request = Request(f"http://127.0.0.1:{port}/inbound-sms/webhook", data=b"{}")
    try:
        urlopen(request, timeout=2).close()  # noqa: S310 - likewise
    except OSError as e:
        return getattr(e, "code", 0) == 401
    return False


def _post(port: int, number: int, rate: float, *, first: int = 0) -> dict[str, Any]:
    arguments = map(str, (port, CONNECTIONS, number, rate, first))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.callers", *arguments],
        cwd=HERE.parent,
        stdout=subprocess.PIPE,
        check=True,
    )
    answers: dict[str, Any] = json.loads(done.stdout)
    if answers["refused"]:
        raise RuntimeError(f"{answers['refused']} notifications were not answered 204")
    return answers
