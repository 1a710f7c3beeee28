"""A real PostgreSQL of the suite's own: private directory and port, one database per test.

PostgreSQL refuses to run as root, so a suite that does lends it another user's rights. No server that happens to run on
the machine is ever used.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Where packages put `initdb` and `postgres`: Debian (one directory a version), Homebrew, Red Hat.
PLACES = (
    "usr/lib/postgresql/*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "usr/pgsql-*/bin",
)
#: Whose rights a server gets where the suite runs as root.
USERS = ("postgres", "nobody")
#: Durable as in production; small.
CONFIG = """\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_buffers = 16MB
max_connections = 40
fsync = on
log_line_prefix = '%m [%p] %a '
"""
#: A standby that was away finds what it missed, asks for it at once, and does not wait for its own readers.
REPLICATION = """\
wal_keep_size = 1GB
wal_retrieve_retry_interval = 200ms
wal_receiver_timeout = 5s
max_standby_streaming_delay = 0
"""
#: Kills the server and removes the directory once its input ends, so also when pytest is killed.
REAPER = 'read -r _; kill -9 "$(head -n 1 "$1/data/postmaster.pid")"; rm -rf "$1"'

#: What it says while sessions of the one before are there.
HELD = "pre-existing shared memory block"


class PostgresMissing(Exception):
    """PostgreSQL is not installed here."""


def find_postgresql() -> Path:
    """Return the directory of the newest PostgreSQL's programs.

    Raises:
        PostgresMissing: there is none.

    """
    found = [place for pattern in PLACES for place in Path("/").glob(pattern) if (place / "initdb").exists()]
    if found:
        return max(found, key=_version)
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    raise PostgresMissing("no PostgreSQL here; scripts/install-test-tools installs it")


class Postgres:
    """One server and everything a test may do to it. Times are in seconds."""

    def __init__(self, primary: Postgres | None = None) -> None:
        """Prepare a server; with `primary`, one that is to be its hot standby."""
        self._primary = primary
        self.programs = find_postgresql()
        self.home = Path(tempfile.mkdtemp(prefix="bridge-postgres-"))
        self.data = self.home / "data"
        self.log = self.home / "postgres.log"
        self.port = free_port()
        self._user = lesser_user()
        self._server: subprocess.Popen[bytes] | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server, on the same data and port as before, and wait until a login works."""
        if self._reaper is None:
            self._reaper = subprocess.Popen(
                ["sh", "-c", REAPER, "reaper", str(self.home)],
                stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            self._prepare()
        wait_until(self._comes_up, within=60, every=0.1, what=f"login to PostgreSQL; see {self.log}")

    def _comes_up(self) -> bool:
        """Start it and wait for a login; False where a session that was killed holds what servers share."""
        before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                [str(self.programs / "postgres"), "-D", str(self.data), "-p", str(self.port)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home, env=_environment(),
                start_new_session=True, **self._rights(),
            )  # fmt: skip
        wait_until(
            lambda: not self.running or self._login_works(),
            within=60,
            every=0.05,
            what=f"login to PostgreSQL; see {self.log}",
        )
        if self.running:
            return True
        said = self.log.read_bytes()[before:].decode(errors="replace")
        if HELD in said:
            return False
        raise AssertionError(f"PostgreSQL ended while starting:\n{said[-4000:]}")

    def stop(self) -> None:
        """Take the server down, whatever state it is in, and remove the directory."""
        if self._server is not None:
            self.thaw()
            self.kill()
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.close()
            self._reaper.wait(timeout=60)
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def running(self) -> bool:
        """Whether the server's process lives; a frozen one does."""
        return self._server is not None and self._server.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the server, whose children are its sessions."""
        if self._server is None:
            raise RuntimeError("the server was not started")
        return self._server.pid

    def kill(self) -> None:
        """Kill the server and its sessions with SIGKILL."""
        if self._server is not None:
            self._signal(signal.SIGKILL)
            self._server.wait(timeout=10)

    def restart(self) -> None:
        """Kill the server and start it on the same data: it recovers from its log."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Stop the server's time (SIGSTOP), that of its sessions included: they stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    # -- failover ----------------------------------------------------------------------------------

    def promote(self) -> None:
        """Make a primary of a standby, and wait until it takes writes."""
        self.execute("SELECT pg_promote(true, 60)")
        wait_until(lambda: self.execute("SELECT pg_is_in_recovery()") == [(False,)], what="a primary")

    def fall_behind(self) -> None:
        """Have a standby receive nothing more."""
        self.execute("ALTER SYSTEM SET primary_conninfo = ''")
        self.execute("SELECT pg_reload_conf()")
        wait_until(
            lambda: not self.execute("SELECT 1 FROM pg_stat_wal_receiver"),
            what="no connection to the primary",
        )

    # -- databases ---------------------------------------------------------------------------------

    def new_database(self, encoding: str = "UTF8") -> str:
        """Return the name of a database that nothing has touched."""
        name = f"t{next(self._numbers):03}"
        self.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0")
        return name

    def has(self, database: str) -> bool:
        """Return whether it has the database; a standby learns of one a little later."""
        return bool(self.execute(f"SELECT 1 FROM pg_database WHERE datname = '{database}'"))  # noqa: S608 - a test's

    def url(self, database: str, port: int | None = None) -> str:
        """Return the URL of a ledger in `database`; with `port`, through whatever listens there (a proxy)."""
        return f"postgresql+psycopg://bridge@127.0.0.1:{port or self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """Return a connection of the test's own, each statement a transaction."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="bridge",
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def execute(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Execute one statement and return its rows."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def end_sessions(self, database: str) -> int:
        """End every session on `database` from the server's side, as an administrator would; returns how many."""
        ended = self.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid()", database=database,
        )  # fmt: skip
        return len(ended)

    # -- inside ------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        if self._user is not None:
            os.chown(self.home, self._user.pw_uid, self._user.pw_gid)
        if self._primary is None:
            how = ["initdb", "-U", "bridge", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        else:
            how = ["pg_basebackup", "-h", "127.0.0.1", "-p", str(self._primary.port), "-U", "bridge",
                   "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]  # fmt: skip
        subprocess.run(
            [str(self.programs / how[0]), "-D", str(self.data), *how[1:]],
            check=True, capture_output=True, cwd=self.home, env=_environment(), **self._rights(),
        )  # fmt: skip
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(CONFIG + REPLICATION)

    def _rights(self) -> Mapping[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": ()}

    def _signal(self, number: int) -> None:
        """Signal the server's whole process group: its sessions are processes too, each leading a group of its own."""
        if self._server is None or not self.running:
            return
        for pid in [self._server.pid, *_children(self._server.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _login_works(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def _version(place: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in "".join(c if c.isdigit() else " " for c in str(place)).split())


def lesser_user() -> pwd.struct_passwd | None:
    """Return whose rights the server gets; None where it may have ours."""
    if os.geteuid() != 0:
        return None
    for name in USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise PostgresMissing("PostgreSQL does not run as root, and this machine has no user `nobody`")


def _environment() -> Mapping[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}


def _children(pid: int) -> Sequence[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in listed.stdout.split()]
