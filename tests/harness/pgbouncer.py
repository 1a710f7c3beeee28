"""A real pgbouncer before the suite's PostgreSQL, on a port of its own. That of the system is never used."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from tests.harness.postgres import lesser_user
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from tests.harness.postgres import Postgres

CONFIG = """\
[databases]
* = host=127.0.0.1 port={target}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {home}/users
pool_mode = {mode}
default_pool_size = 2
max_client_conn = 100
server_login_retry = 1
"""
#: Kills pgbouncer and removes its directory once the suite's end of the pipe is closed, so also when pytest is killed.
REAPER = 'read -r _; kill -9 "$2"; rm -rf "$1"'


class PgbouncerMissing(Exception):
    """pgbouncer is not installed here."""


class Pgbouncer:
    """One pgbouncer; it pools transactions unless it is started otherwise."""

    def __init__(self, server: Postgres) -> None:
        program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise PgbouncerMissing("no pgbouncer here; scripts/install-test-tools installs it")
        self.program = program
        self.home = Path(tempfile.mkdtemp(prefix="bridge-pgbouncer-"))
        self.port = free_port()
        self._target = server
        self._process: subprocess.Popen[bytes] | None = None
        self._reaper: subprocess.Popen[bytes] | None = None

    def start(self, mode: str = "transaction", *, target: int | None = None) -> None:
        """Start it with `mode` as its pool_mode, before the server or the port `target`; wait until it answers."""
        self.home.mkdir(exist_ok=True)
        config = self.home / "pgbouncer.ini"
        config.write_text(
            CONFIG.format(target=target or self._target.port, port=self.port, home=self.home, mode=mode),
            encoding="utf-8",
        )
        (self.home / "users").write_text('"bridge" ""\n', encoding="utf-8")
        user = lesser_user()
        if user is not None:
            for path in (self.home, *self.home.iterdir()):
                os.chown(path, user.pw_uid, user.pw_gid)
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.program, str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                user=None if user is None else user.pw_uid, group=None if user is None else user.pw_gid,
            )  # fmt: skip
        self._reaper = subprocess.Popen(
            ["sh", "-c", REAPER, "reaper", str(self.home), str(self._process.pid)],
            stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        wait_until(self._answers, within=20, what=f"an answer of pgbouncer; see {self.home}/log")

    def stop(self) -> None:
        """End it and remove its directory."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.close()
            self._reaper.wait(timeout=20)
        shutil.rmtree(self.home, ignore_errors=True)

    def url(self, database: str) -> str:
        """Return the URL of a ledger in `database`, through it."""
        return self._target.url(database, self.port)

    def execute(self, statement: str, database: str) -> list[tuple[object, ...]]:
        """Execute one statement as another client of it, in a transaction, and return its rows."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="bridge", dbname=database, prepare_threshold=None
        ) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.home / "log").read_text(errors="replace")
        try:
            with psycopg.connect(
                host="127.0.0.1", port=self.port, user="bridge", dbname="postgres", connect_timeout=2
            ):
                return True
        except psycopg.OperationalError:
            return False
