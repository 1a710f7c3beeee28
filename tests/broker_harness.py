"""A real RabbitMQ of the suite's own: private directory, ports, cookie and epmd, one virtual host per test.

The package's own server script is called, not the wrapper on PATH, which changes the user and writes
to the system's directories. No broker that happens to run on the machine is ever used.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from amqp import Connection

from tests.certificates import Authority
from tests.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Where packages put `rabbitmq-server` and `rabbitmqctl`: Debian, Homebrew, a generic Unix build.
PLACES = (
    "/usr/lib/rabbitmq/bin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
    "/usr/local/sbin",
)
#: Seconds a quorum queue must have stood before a kill -9: a younger one is lost for good (RabbitMQ 3.10).
SETTLED = 3.0
#: Virtual hosts made in one go.
POOL = 16
#: Who changes something, for the node's log.
SUITE = '<<"suite">>'

#: Two schedulers that don't spin, distribution on loopback.
ERLANG = "+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}"
CONFIG = """\
loopback_users.guest = true
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 2GB
log.file.level = warning
listeners.ssl.1 = 127.0.0.1:{tls_port}
ssl_options.cacertfile = {ca}
ssl_options.certfile = {certificate}
ssl_options.keyfile = {key}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = AMQPLAIN
auth_mechanisms.3 = EXTERNAL
ssl_cert_login_from = common_name
"""
#: Lets a client certificate be a login.
PLUGINS = "rabbitmq_auth_mechanism_ssl"
#: What a queue of the delay could not hand on while the broker was killed it tries again after so many milliseconds; by
#: itself after three minutes, which is longer than tests wait (docs/reliability.md).
ADVANCED = "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 5000}]}]."
#: Kills what the pid files name and removes the directory once its input ends, so also when pytest is killed.
REAPER = 'read -r _; for file in "$1"/*.pid; do kill -9 "$(cat "$file")"; done; rm -rf "$1"'


class BrokerMissing(Exception):
    """RabbitMQ is not installed here."""


def find_rabbitmq() -> Path:
    """Return the directory of RabbitMQ's own scripts.

    Raises:
        BrokerMissing: there is none.

    """
    on_path = shutil.which("rabbitmq-server")
    places = [*map(Path, PLACES), *([Path(on_path).resolve().parent] if on_path else [])]
    for place in places:
        if (place / "rabbitmq-server").exists() and (place / "rabbitmqctl").exists():
            return place
    raise BrokerMissing("no rabbitmq-server here; scripts/install-test-tools installs it")


class Broker:
    """One RabbitMQ node and everything a test may do to it. Times are in seconds."""

    def __init__(self, plugins: str = "", advanced: str = ADVANCED) -> None:
        """Prepare a node with `plugins` (comma-separated) and `advanced`, its Erlang configuration."""
        self.scripts = find_rabbitmq()
        self.home = Path(tempfile.mkdtemp(prefix="bridge-broker-"))
        self.port = free_port()
        #: Where it speaks TLS, with a certificate of `authority` for `localhost` alone.
        self.tls_port = free_port()
        self.authority = Authority(self.home / "tls")
        self.log = self.home / "broker.log"
        self._epmd_port = free_port()
        self._erl_call = _erl_call_program()
        self._environment = self._write_configuration(plugins, advanced)
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self._free: list[str] = []
        self._used: list[str] = []
        self._quorum_queues = ("[]", 0.0)

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the node and wait until an AMQP login works."""
        if self._reaper is None:
            self._reaper = self._spawn("sh", "-c", REAPER, "reaper", str(self.home), stdin=subprocess.PIPE)
        if self._epmd is None:
            self._epmd = self._spawn(_epmd_program(), "-port", str(self._epmd_port), "-address", "127.0.0.1")
            (self.home / "epmd.pid").write_text(str(self._epmd.pid))
        self._server = self._spawn(str(self.scripts / "rabbitmq-server"))
        (self.home / "beam.pid").write_text(str(self._server.pid))
        wait_until(self._login_works, within=60, every=0.1, what=f"login to the broker; see {self.log}")

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

    # -- virtual hosts -----------------------------------------------------------------------------

    def new_vhost(self) -> str:
        """Return the name of a virtual host that nothing has touched."""
        if not self._free:
            self._refill()
        name = self._free.pop()
        self._used.append(name)
        return name

    def url(self, vhost: str, port: int | None = None) -> str:
        """Return the AMQP URL of `vhost`; with `port`, through whatever listens there (a proxy)."""
        return f"amqp://guest:guest@127.0.0.1:{port or self.port}/{vhost}"

    def empty_default_vhost(self) -> str:
        """Empty the virtual host that a broker has from the start, which examples use; return its URL."""
        self.eval(f"rabbit_vhost:delete({_binary('/')}, {SUITE}), {_adding('/')}, ok.")
        return self.url("%2f")

    def tls_url(self, vhost: str, host: str = "localhost", parameters: str = "") -> str:
        """Return the URL of `vhost` with TLS; the certificate of the broker is for `localhost`, not for 127.0.0.1."""
        return f"amqps://guest:guest@{host}:{self.tls_port}/{vhost}{parameters}"

    def _refill(self) -> None:
        """Drop the virtual hosts of finished tests but the newest and make new ones, in one call."""
        old, self._used = self._used[:-1], self._used[-1:]
        new = [f"t{number:03}" for _, number in zip(range(POOL), self._numbers, strict=False)]
        self.eval(
            f"[rabbit_vhost:delete(V, {SUITE}) || V <- [{', '.join(map(_binary, old))}]], "
            f"{', '.join(map(_adding, new))}, ok."
        )
        self._free.extend(reversed(new))

    # -- what an operator can do -------------------------------------------------------------------

    def ctl(self, *arguments: str, timeout: float = 30) -> str:
        """Run `rabbitmqctl` against this node and return its output; about a second of processor time each."""
        done = subprocess.run(
            [str(self.scripts / "rabbitmqctl"), "-q", *arguments],
            env=self._environment, cwd=self.home, capture_output=True, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {arguments[0]}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def eval(self, expression: str, timeout: int = 30) -> str:
        """Evaluate an Erlang expression on the node and return its value as text; a few milliseconds each."""
        cookie = (self.home / ".erlang.cookie").read_text()
        done = subprocess.run(
            [self._erl_call, "-sname", self._environment["RABBITMQ_NODENAME"], "-c", cookie,
             "-timeout", str(timeout), "-e"],
            input=f"{expression}\n", env=self._environment, cwd=self.home, capture_output=True, text=True,
            timeout=timeout + 5, check=False,
        )  # fmt: skip
        if done.returncode or not done.stdout.startswith("{ok, "):
            raise RuntimeError(f"the node can't evaluate {expression}: {done.stdout}{done.stderr}")
        return done.stdout.removeprefix("{ok, ").removesuffix("}")

    def add_user(
        self,
        vhost: str,
        name: str,
        password: str,
        *,
        configure: str = ".*",
        write: str = ".*",
        read: str = ".*",
    ) -> None:
        """Make a user with these permissions (regular expressions) in `vhost`."""
        self.eval(
            f"rabbit_auth_backend_internal:add_user({_binary(name)}, {_binary(password)}, {SUITE}), "
            f"{_permitting(name, vhost, configure, write, read)}, ok."
        )

    def delete_user(self, name: str) -> None:
        """Delete a user, which closes its connections."""
        self.eval(f"rabbit_auth_backend_internal:delete_user({_binary(name)}, {SUITE}), ok.")

    def queues(self, vhost: str) -> list[str]:
        """Return the names of the queues, which must not hold `"`."""
        listed = f"rabbit_amqqueue:info_all({_binary(vhost)}, [name])"
        found = self.eval(f"[binary_to_list(element(4, N)) || [{{name, N}}] <- {listed}].")
        return re.findall(r'"([^"]+)"', found)

    def held(self, vhost: str, queue: str) -> int:
        """Return how many messages a quorum queue has, held by consumers or not."""
        # Its leader is asked: the counts that `rabbitmqctl` shows are seconds old.
        return int(
            self.eval(
                f"{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r({_binary(vhost)}, queue, {_binary(queue)})), "
                "{ok, {_, M}, _} = ra:leader_query(amqqueue:get_pid(Q), fun rabbit_fifo:query_messages_total/1), M."
            )
        )

    def consumers(self, vhost: str, queue: str) -> int:
        """Return how many consumers the broker sees on `queue`."""
        return int(
            self.eval(
                f"length([C || C <- rabbit_amqqueue:consumers_all({_binary(vhost)}), "
                f"element(4, proplists:get_value(queue_name, C)) =:= {_binary(queue)}])."
            )
        )

    def connections(self, vhost: str) -> int:
        """Return how many client connections are open to `vhost`."""
        return int(self.eval(f"length({_connections(vhost)})."))

    def close_connections(self, vhost: str) -> None:
        """Close every client connection to `vhost` from the broker's side."""
        self.eval(
            f'[rabbit_networking:close_connection(P, "the test closes it") || P <- {_connections(vhost)}], ok.'
        )

    @contextlib.contextmanager
    def memory_alarm(self) -> Iterator[None]:
        """Block publishers inside the block, as a broker out of memory does."""
        self.eval("vm_memory_monitor:set_vm_memory_high_watermark(0.00001), ok.")
        try:
            wait_until(lambda: "memory" in self.eval("rabbit_alarm:get_alarms()."), what="memory alarm")
            yield
        finally:
            self.eval('vm_memory_monitor:set_vm_memory_high_watermark({absolute, "2GB"}), ok.')

    @contextlib.contextmanager
    def disk_alarm(self) -> Iterator[None]:
        """Block publishers inside the block, as a broker with a full disk does."""
        self.eval('rabbit_disk_monitor:set_disk_free_limit("100000GB"), ok.')
        try:
            wait_until(lambda: "disk" in self.eval("rabbit_alarm:get_alarms()."), what="disk alarm")
            yield
        finally:
            self.eval('rabbit_disk_monitor:set_disk_free_limit("50MB"), ok.')

    # -- inside ------------------------------------------------------------------------------------

    def _write_configuration(self, plugins: str, advanced: str) -> dict[str, str]:
        certificate, key = self.authority.issue("broker", names="DNS:localhost")
        (self.home / "rabbitmq.conf").write_text(
            CONFIG.format(
                tls_port=self.tls_port, ca=self.authority.certificate, certificate=certificate, key=key
            )
        )
        (self.home / "advanced.config").write_text(advanced)
        (self.home / "enabled_plugins").write_text(f"[{','.join(filter(None, [PLUGINS, plugins]))}].")
        own = {
            "HOME": str(self.home),
            "RABBITMQ_NODENAME": f"t{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(self.home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.home / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_PID_FILE": str(self.home / "rabbitmq-server.id"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG,
            "RABBITMQ_CTL_ERL_ARGS": "+S 1:1",
            # The script then becomes the Erlang machine instead of waiting for it: one process id.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
        inherited = {"PATH", "LANG", "LC_ALL", "TMPDIR"}
        return {name: value for name, value in os.environ.items() if name in inherited} | own

    def _spawn(self, *command: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a child in a session of its own, so that Ctrl-C reaches pytest alone."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, env=self._environment, cwd=self.home, stdin=stdin, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def _signal(self, number: int) -> None:
        if self._server is not None and self._server.poll() is None:
            os.kill(self._server.pid, number)

    def _wait_dead(self) -> None:
        if self._server is not None:
            self._server.wait(timeout=30)

    def _login_works(self) -> bool:
        if not self.running:
            raise AssertionError(
                f"the broker ended while starting:\n{self.log.read_text(errors='replace')[-4000:]}"
            )
        connection = Connection(f"127.0.0.1:{self.port}", connect_timeout=5, read_timeout=5, write_timeout=5)
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


def _epmd_program() -> str:
    program = shutil.which("epmd")
    if program is None:
        raise BrokerMissing("no epmd here: Erlang is not installed")
    return program


def _erl_call_program() -> str:
    """Return the program that evaluates on a running node; Erlang has it beside its `epmd`."""
    program = Path(_epmd_program()).resolve().parent / "erl_call"
    if not program.exists():
        raise BrokerMissing(f"no {program} here: Erlang is not installed as a whole")
    return str(program)


def _adding(vhost: str) -> str:
    """Return the Erlang that makes a virtual host in which `guest` may do everything."""
    return f"rabbit_vhost:add({_binary(vhost)}, {SUITE}), {_permitting('guest', vhost, '.*', '.*', '.*')}"


def _permitting(user: str, vhost: str, *patterns: str) -> str:
    arguments = ", ".join(map(_binary, (user, vhost, *patterns)))
    return f"rabbit_auth_backend_internal:set_permissions({arguments}, {SUITE})"


def _connections(vhost: str) -> str:
    """Return the Erlang for the processes of all client connections to a virtual host."""
    listed = "rabbit_networking:connection_info_all([pid, vhost])"
    return f"[P || [{{pid, P}}, {{vhost, V}}] <- {listed}, V =:= {_binary(vhost)}]"


def _binary(text: str) -> str:
    """Return an Erlang binary of ASCII text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'<<"{escaped}">>'
