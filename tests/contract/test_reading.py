"""Reading a ledger independently of its workers, on each kind of database."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from sqlalchemy import create_engine, text

from bridge.adapters.store import open_ledger, read_ledger
from bridge.ports import LedgerUnavailable


def note(url: str, command_id: str, content_hash: bytes) -> None:
    """Record a command in the ledger."""
    engine = create_engine(url)
    with engine.begin() as connection:
        insert = text("INSERT INTO commands VALUES (:id, :hash, 0, 1.5, 2.5)")
        connection.execute(insert, {"id": command_id, "hash": content_hash})
    engine.dispose()


def test_content_hash_of_a_command_is_found_once_it_is_recorded(ledger_url: str) -> None:
    open_ledger(ledger_url).close()
    with closing(read_ledger(ledger_url)) as reader:
        before = reader.content_hash("c1")
        note(ledger_url, "c1", b"\x00\xff")
        found: list[bytes | None] = []
        other = threading.Thread(target=lambda: found.append(reader.content_hash("c1")))
        other.start()
        other.join()

        assert (before, found, reader.content_hash("c2")) == (None, [b"\x00\xff"], None)


def test_content_hash_is_unavailable_until_there_is_a_ledger(ledger_url: str) -> None:
    with pytest.raises(LedgerUnavailable), closing(read_ledger(ledger_url)) as reader:
        reader.content_hash("c1")
    open_ledger(ledger_url).close()
    with closing(read_ledger(ledger_url)) as reader:
        assert reader.content_hash("c1") is None
