"""The suite's PostgreSQL server: separate from others, and ended with the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from tests.harness.postgres import Postgres

SUITE = """
import sys
from tests.harness.postgres import Postgres
server = Postgres()
server.start()
print(server.home, server.port, flush=True)
sys.stdin.read()
"""


def test_each_test_has_a_separate_database(postgresql: Postgres) -> None:
    one, other = postgresql.new_database(), postgresql.new_database()
    postgresql.execute("CREATE TABLE something (x INTEGER)", database=one)

    with pytest.raises(psycopg.errors.UndefinedTable):
        postgresql.execute("SELECT x FROM something", database=other)


def test_commits_are_on_the_disk_as_in_production(postgresql: Postgres) -> None:
    assert postgresql.execute("SHOW fsync") == [("on",)]


def test_server_ends_when_the_tests_are_killed(postgresql: Postgres) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUITE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as suite:
        assert suite.stdout
        home, port = suite.stdout.readline().split()
        assert Path(home).exists()
        suite.kill()

    wait_until(lambda: not Path(home).exists(), within=20, what="no directory")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(host="127.0.0.1", port=int(port), user="bridge", dbname="postgres", connect_timeout=2)
