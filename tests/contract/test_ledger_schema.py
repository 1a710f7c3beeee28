"""Creation and migration of the ledger's tables."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text

from bridge.adapters.store import open_ledger, open_seen, read_ledger
from bridge.adapters.store.schema import MIGRATIONS
from bridge.adapters.store.tables import REVISION, metadata
from bridge.domain.ledger import ReadCommand
from bridge.ports import LedgerUnavailable, LedgerUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.adapters.store.reader import Summary


@pytest.fixture
def engine(ledger_url: str) -> Iterator[Engine]:
    """Connect to the ledger independently of the bridge."""
    engine = create_engine(ledger_url)
    yield engine
    engine.dispose()


def summary_of(url: str) -> Summary:
    with closing(read_ledger(url)) as reader:
        return reader.summary()


def test_new_ledger_has_the_tables_of_the_code(ledger_url: str, engine: Engine) -> None:
    open_ledger(ledger_url).close()
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
        primary_keys = {
            name: inspect(connection).get_pk_constraint(name)["constrained_columns"]
            for name in metadata.tables
        }

    assert differences == []
    assert primary_keys == {
        name: [column.name for column in table.primary_key] for name, table in metadata.tables.items()
    }


def test_code_has_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_ledger_of_the_first_release_is_migrated_with_its_contents(ledger_url: str, engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(text("INSERT INTO meta VALUES ('identity', 'abc')"))
        connection.execute(text("INSERT INTO commands VALUES ('c1', '', 0, 1.5, 2.5)"))
        connection.execute(text("INSERT INTO buckets VALUES ('account', 4.5)"))
    with closing(open_ledger(ledger_url)) as ledger:
        identity, before = ledger.identity, ledger.revision_before
    with closing(open_seen(ledger_url)) as seen:
        seen.note(["a"], 3.5)
        known = seen.known(["a"])
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
        kept = connection.execute(text("SELECT id, created_at, updated_at FROM commands")).all()
        limits = connection.execute(text("SELECT name, next_free, next_queued, open_at FROM buckets")).all()

    assert (before, identity, summary_of(ledger_url).revision) == ("0001", "abc", REVISION)
    assert kept == [("c1", 1.5, 2.5)]
    assert limits == [("account", 4.5, 0.0, 0.0)]
    assert differences == []
    assert known == {"a"}


def test_ledger_of_a_newer_bridge_is_refused_and_unchanged(ledger_url: str, engine: Engine) -> None:
    open_ledger(ledger_url).close()
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    for opening in (open_ledger, summary_of):
        with pytest.raises(LedgerUnusable, match=f"9999.*{REVISION}"):
            opening(ledger_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"


def test_ledger_from_before_the_first_release_is_refused_and_unchanged(
    ledger_url: str, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE meta (key VARCHAR PRIMARY KEY, value VARCHAR NOT NULL)"))

    with pytest.raises(LedgerUnusable, match="before its first release"):
        open_ledger(ledger_url)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["meta"]


def test_reading_does_not_create_a_ledger(ledger_url: str, engine: Engine) -> None:
    with pytest.raises(LedgerUnavailable, match="there is no ledger yet"):
        summary_of(ledger_url)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == []


def test_failing_migration_is_rolled_back(ledger_url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        # Prevents the creation of the last table but one.
        connection.execute(text("CREATE TABLE sightings (something INTEGER)"))

    with pytest.raises(LedgerUnavailable, match="already exists"):
        open_ledger(ledger_url)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["sightings"]


OPEN = """
import sys
from bridge.adapters.store import open_ledger
open_ledger(sys.argv[1]).close()
print("alembic" in sys.modules)
"""


def test_alembic_is_loaded_only_for_a_migration(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    loaded = [
        subprocess.run(
            [sys.executable, "-c", OPEN, url], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    ]

    assert loaded == ["True", "False"]


def test_processes_that_start_at_once_create_one_ledger(ledger_url: str) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", OPEN, ledger_url], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    made = [process.communicate(timeout=60)[0].strip() for process in processes]

    assert [process.returncode for process in processes] == [0] * 4
    assert made.count("True") >= 1
    assert summary_of(ledger_url).revision == REVISION


def test_ledger_whose_columns_another_version_renamed_is_unusable(ledger_url: str, engine: Engine) -> None:
    with closing(open_ledger(ledger_url)) as ledger:
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE commands RENAME COLUMN version TO version_of_another"))

        with pytest.raises(LedgerUnusable, match="another version has migrated the ledger"):
            ledger.apply([ReadCommand(command_id="c1")])
