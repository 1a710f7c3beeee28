"""The suite's own PostgreSQL: ours alone, and gone with us."""

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


def test_each_test_has_a_database_of_its_own(postgresql: Postgres) -> None:
    one, other = postgresql.new_database(), postgresql.new_database()
    postgresql.execute("CREATE TABLE something (x INTEGER)", database=one)

    with pytest.raises(psycopg.errors.UndefinedTable):
        postgresql.execute("SELECT x FROM something", database=other)


def test_commits_are_on_the_disk_as_in_production(postgresql: Postgres) -> None:
    assert postgresql.execute("SHOW fsync") == [("on",)]


def test_a_server_does_not_outlive_the_tests_even_when_they_are_killed(postgresql: Postgres) -> None:
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
