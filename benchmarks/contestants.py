"""The contestants: how each is started and gets its work."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import amqp

from benchmarks.field import HERE, Running

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.field import Pitch

PEERS = HERE / "peers"
#: The peers' environment, which `make bench` makes.
PROGRAMS = HERE.parent / ".venv-peers" / "bin"
BRIDGE_PROGRAM = str(Path(sys.executable).with_name("bridge"))


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Takes commands from a queue, submits each and publishes the result."""

    name: str
    queue: str
    events: str

    def start(self, pitch: Pitch, in_flight: int, processes: int) -> Running:
        """Start it with room for `in_flight` calls at once in each of its processes."""
        raise NotImplementedError

    def publish(self, pitch: Pitch, number: int) -> None:
        """Put so many commands on its queue."""
        raise NotImplementedError


class Bridge(Sender):
    """The bridge, with its ledger on SQLite."""

    def start(self, pitch: Pitch, in_flight: int, processes: int) -> Running:
        """See `Sender`."""
        env = {
            **bridge_env(pitch),
            "BRIDGE_CPAAS__BASE_URL": pitch.provider,
            "BRIDGE_CPAAS__CLIENT_ID": "bench",
            "BRIDGE_CPAAS__CLIENT_SECRET": "bench",
            "BRIDGE_WORKER__CONCURRENCY": str(in_flight),
            "BRIDGE_WORKER__PROCESSES": str(processes),
        }
        run_bridge(env, "topology", "declare")
        return Running([BRIDGE_PROGRAM, "worker"], env, pitch.directory, HERE.parent)

    def publish(self, pitch: Pitch, number: int) -> None:
        """See `Sender`."""
        for _ in range(number):
            publish_command(pitch.channel, uuid.uuid4().hex)


def bridge_env(pitch: Pitch) -> dict[str, str]:
    """Return the configuration that worker and ingest share."""
    return {
        "BRIDGE_BROKER__URL": pitch.broker,
        "BRIDGE_LEDGER__URL": f"sqlite:///{pitch.directory / 'ledger.sqlite3'}",
        "BRIDGE_ADMIN__PORT": "0",
    }


def run_bridge(env: Mapping[str, str], *arguments: str) -> None:
    """Run one of the bridge's commands to its end."""
    subprocess.run(
        [BRIDGE_PROGRAM, *arguments], env=env, cwd=HERE.parent, check=True, stdout=subprocess.DEVNULL
    )


def publish_command(channel: amqp.Channel, name: str) -> None:
    """Publish a command whose id and text are `name`; the confirm is not waited for."""
    command = {
        "id": name,
        "sender_address": "+16135550100",
        "destination_address": "+16135550123",
        "message": name,
    }
    message = amqp.Message(
        json.dumps(command), delivery_mode=2, content_type="application/json", message_id=name
    )
    channel._basic_publish(message, "sms.commands", "send")  # noqa: SLF001 - the public one waits


class Peer(Sender):
    """A program under `benchmarks/peers`."""

    def start(self, pitch: Pitch, in_flight: int, processes: int) -> Running:
        """See `Sender`."""
        return Running(self._command(in_flight, processes), peer_env(pitch, self), pitch.directory, PEERS)

    def publish(self, pitch: Pitch, number: int) -> None:
        """See `Sender`."""
        program = f"{self.name.lower()}_app.py"
        env = {**peer_env(pitch, self), "PATH": str(PROGRAMS)}
        subprocess.run([PROGRAMS / "python", program, str(number)], cwd=PEERS, env=env, check=True)

    def _command(self, in_flight: int, processes: int) -> list[str]:
        raise NotImplementedError


class Celery(Peer):
    """Celery with a pool of threads; for two processes, two workers."""

    def _command(self, in_flight: int, processes: int) -> list[str]:
        worker = (
            f"{PROGRAMS}/celery -A celery_app worker -P threads -c {in_flight} "
            "--without-gossip --without-mingle -l error"
        )
        started = " & ".join(f"{worker} -n bench{number}@%h" for number in range(processes))
        return ["sh", "-c", f"{started} & wait"]


class Dramatiq(Peer):
    """Dramatiq, which has its own processes and threads."""

    def _command(self, in_flight: int, processes: int) -> list[str]:
        return [f"{PROGRAMS}/dramatiq", "dramatiq_app", "-p", str(processes), "-t", str(in_flight)]


class Kombu(Peer):
    """A plain kombu consumer: always one thread."""

    def _command(self, in_flight: int, processes: int) -> list[str]:
        del in_flight
        started = " & ".join([f"{PROGRAMS}/python kombu_app.py"] * processes)
        return ["sh", "-c", f"{started} & wait"]


def peer_env(pitch: Pitch, who: Sender) -> Mapping[str, str]:
    """Return the settings of the peers."""
    return {
        "BENCH_BROKER": pitch.broker,
        "BENCH_PROVIDER": pitch.provider,
        "BENCH_QUEUE": who.queue,
        "BENCH_EVENTS": who.events,
    }


BRIDGE = Bridge(name="Bridge", queue="sms.send", events="sms.events")
SENDERS: tuple[Sender, ...] = (
    BRIDGE,
    Celery(name="Celery", queue="bench", events="bench.told"),
    Dramatiq(name="Dramatiq", queue="bench", events="bench.told"),
    Kombu(name="Kombu", queue="bench", events="bench.told"),
)
