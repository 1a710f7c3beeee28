"""One RabbitMQ node of the suite's own, with its private directory, ports, cookie and epmd: its configuration and life.

The package's own server script is called, not the wrapper on PATH, which changes the user and writes
to the system's directories. No broker that happens to run on the machine is ever used.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from amqp import Connection

from tests.harness.broker_configuration import ADVANCED, Site, write_configuration
from tests.harness.certificates import Authority
from tests.harness.rabbitmq_programs import epmd_program, erl_call_program, find_rabbitmq
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Seconds a quorum queue must have stood before a kill -9: a younger one is lost for good (RabbitMQ 3.10).
SETTLED = 3.0

#: Connections that are tried once more to evaluate something on a node.
RECONNECTS = 2

#: Kills what the pid files name and removes the directory once its input ends, so also when pytest is killed.
REAPER = 'read -r _; for file in "$1"/*.pid; do kill -9 "$(cat "$file")"; done; rm -rf "$1"'


class Node:
    """One RabbitMQ node. Times are in seconds."""

    def __init__(self, plugins: str = "", advanced: str = ADVANCED, site: Site | None = None) -> None:
        """Prepare a node with `plugins` (comma-separated) and `advanced`, its Erlang configuration, at `site`."""
        self.site = site or Site()
        self.scripts = find_rabbitmq()
        self.home = Path(tempfile.mkdtemp(prefix="bridge-broker-"))
        self.port = free_port()
        #: Where it speaks TLS, with a certificate of `authority` for `localhost` alone.
        self.tls_port = free_port()
        #: The name that the other nodes of its cluster know it by.
        self.name = f"t{self.port}@{self.site.address}"
        #: Where the management plugin answers HTTP, if it is one of `plugins`.
        self.management_port = free_port()
        self.authority = Authority(self.home / "tls")
        self.log = self.home / "broker.log"
        self._erl_call = erl_call_program(self.scripts)
        self._environment = write_configuration(self, plugins, advanced)
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        self._quorum_queues = ("[]", 0.0)

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the node and wait until an AMQP login works."""
        self.launch()
        self.wait_up()

    def launch(self) -> None:
        """Start the node's process; a node of a cluster may wait for others before it is up."""
        if self._reaper is None:
            self._reaper = self._spawn("sh", "-c", REAPER, "reaper", str(self.home), stdin=subprocess.PIPE)
        if not self._epmd_answers():
            epmd = epmd_program(self.scripts)
            self._epmd = self._spawn(epmd, "-port", str(self.site.epmd_port), "-address", self.site.address)
            (self.home / "epmd.pid").write_text(str(self._epmd.pid))
            wait_until(self._epmd_answers, what="epmd")
        self._server = self._spawn(str(self.scripts / "rabbitmq-server"))
        (self.home / "beam.pid").write_text(str(self._server.pid))

    def wait_up(self, within: float = 60) -> None:
        """Wait until an AMQP login works."""
        wait_until(self._login_works, within=within, every=0.1, what=f"login to the broker; see {self.log}")

    def stop(self) -> None:
        """Take everything down, whatever state it is in, and remove the directory."""
        if self.running:
            self.thaw()
            self._signal(signal.SIGKILL)
        for child in (self._server, self._epmd):
            if child is not None:
                child.kill()
                child.wait(timeout=10)
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.close()
            self._reaper.wait(timeout=60)
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def running(self) -> bool:
        """Whether the node's process lives; a frozen one does."""
        return self._server is not None and self._server.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the Erlang machine, not of a shell around it."""
        if self._server is None:
            raise RuntimeError("the broker was not started")
        return self._server.pid

    def kill(self, *, settle: bool = True) -> None:
        """Kill the node with SIGKILL; `settle` first, so that quorum queues survive it."""
        if settle:
            self.settle()
        self._signal(signal.SIGKILL)
        self._wait_dead()

    def terminate(self) -> None:
        """Stop the node in order (SIGTERM)."""
        self._signal(signal.SIGTERM)
        self._wait_dead()

    def restart(self, *, gracefully: bool = False, settle: bool = True) -> None:
        """Kill the node, or stop it in order, and start it on the same data and port."""
        if gracefully:
            self.terminate()
        else:
            self.kill(settle=settle)
        self.start()

    def freeze(self) -> None:
        """Stop the node's time (SIGSTOP): its sockets stay open, and no answer comes."""
        self._signal(signal.SIGSTOP)
        # The kernel stops each thread when it is next its turn.
        threads = Path(f"/proc/{self.pid}/task")
        if threads.exists():
            wait_until(lambda: all(map(_is_stopped, threads.glob("*/stat"))), what="the node stands still")

    def thaw(self) -> None:
        """Let a frozen node go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    @property
    def is_frozen(self) -> bool:
        """Whether the node's time stands still."""
        return self.running and _is_stopped(Path(f"/proc/{self.pid}/stat"))

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Keep the node frozen inside the block."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def settle(self) -> None:
        """Wait until the quorum queues have been the same in sight for `SETTLED` seconds."""
        names = self.eval("[amqqueue:get_name(Q) || Q <- rabbit_amqqueue:list_by_type(rabbit_quorum_queue)].")
        if names != self._quorum_queues[0]:
            self._quorum_queues = (names, time.monotonic())
        due = self._quorum_queues[1] + SETTLED
        wait_until(
            lambda: names == "[]" or time.monotonic() >= due, within=SETTLED + 5, what="settled queues"
        )

    def know(self, names: Iterable[str]) -> None:
        """Have the node make a cluster with the nodes of these names when it first starts."""
        with (self.home / "rabbitmq.conf").open("a") as config:
            config.write("cluster_formation.peer_discovery_backend = classic_config\n")
            config.writelines(
                f"cluster_formation.classic_config.nodes.{number} = {name}\n"
                for number, name in enumerate(names, start=1)
            )

    # -- its command line --------------------------------------------------------------------------

    def ctl(self, *arguments: str, program: str = "rabbitmqctl", timeout: float = 30) -> str:
        """Run `rabbitmqctl`, or a `program` beside it, against this node and return its output.

        It takes about a second of processor time.
        """
        done = subprocess.run(
            [*self.site.inside, str(self.scripts / program), "-q", *arguments],
            env=self._environment, cwd=self.home, capture_output=True, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program} {arguments[0]}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def eval(self, expression: str, timeout: int = 30) -> str:
        """Evaluate an Erlang expression on the node and return its value as text; a few milliseconds each."""
        done = self._call(expression, timeout)
        for _ in range(RECONNECTS):
            # Nothing was evaluated then. A node that is joined by another one may refuse a connection once.
            if "failed to connect" in done.stderr and self.running:
                done = self._call(expression, timeout)
        if done.returncode or not done.stdout.startswith("{ok, "):
            raise RuntimeError(f"the node can't evaluate {expression}: {done.stdout}{done.stderr}")
        return done.stdout.removeprefix("{ok, ").removesuffix("}")

    # -- inside ------------------------------------------------------------------------------------

    def _call(self, expression: str, timeout: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.site.inside, self._erl_call, "-name", self.name, "-c", self.site.cookie,
             "-timeout", str(timeout), "-e"],
            input=f"{expression}\n", env=self._environment, cwd=self.home, capture_output=True, text=True,
            timeout=timeout + 5, check=False,
        )  # fmt: skip

    def _spawn(self, *command: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a child in a session of its own, so that Ctrl-C reaches pytest alone."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*self.site.inside, *command], env=self._environment, cwd=self.home, stdin=stdin, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip

    def _signal(self, number: int) -> None:
        if self._server is not None and self._server.poll() is None:
            os.kill(self._server.pid, number)

    def _wait_dead(self) -> None:
        if self._server is not None:
            self._server.wait(timeout=30)

    def _epmd_answers(self) -> bool:
        try:
            socket.create_connection((self.site.address, self.site.epmd_port), timeout=5).close()
        except OSError:
            return False
        return True

    def _login_works(self) -> bool:
        if not self.running:
            raise AssertionError(
                f"the broker ended while starting:\n{self.log.read_text(errors='replace')[-4000:]}"
            )
        connection = Connection(
            f"{self.site.address}:{self.port}", connect_timeout=5, read_timeout=5, write_timeout=5
        )
        try:
            connection.connect()
        except OSError:
            return False
        else:
            return True
        finally:
            with contextlib.suppress(OSError):
                connection.close()


def _is_stopped(stat: Path) -> bool:
    """Return whether a thread is stopped; see `proc_pid_stat(5)`."""
    return stat.read_text().rpartition(")")[2].split()[0] == "T"
