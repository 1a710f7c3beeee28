"""The contract of the store of seen notifications: a recorded id is known to all processes until it is pruned."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Protocol

import pytest

from bridge.adapters.store import open_ledger, open_seen
from bridge.adapters.store.postgresql import LEDGER_NUMBER
from bridge.adapters.store.retention import NOTIFICATIONS
from bridge.domain.evidence import Evidence
from bridge.domain.ledger import ObservedMessage
from bridge.domain.match_keys import text_key
from bridge.ports import LedgerUnavailable, Seen, Watermarks
from tests.fakes.ledger import MemorySeen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from bridge.domain.ledger import Change
    from tests.harness.postgres import Postgres

NOW = 1_800_000_000.0


class Memory(Seen, Watermarks, Protocol):
    """A store of notifications that can be pruned."""

    def prune(self, before: float) -> int: ...


class OpenSeen(Protocol):
    """Opens the store under test; each call opens the same one."""

    def __call__(self) -> Memory: ...


def in_memory(_: pytest.FixtureRequest) -> OpenSeen:
    seen = MemorySeen()
    return lambda: seen


def on_sqlite(request: pytest.FixtureRequest) -> OpenSeen:
    path = request.getfixturevalue("tmp_path") / "ledger.db"
    return lambda: open_seen(f"sqlite:///{path}")


def on_postgresql(request: pytest.FixtureRequest) -> OpenSeen:
    url = request.getfixturevalue("postgresql_url")
    return lambda: open_seen(url)


KINDS = {"memory": in_memory, "sqlite": on_sqlite, "postgresql": on_postgresql}


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def open_it(request: pytest.FixtureRequest) -> OpenSeen:
    opener: OpenSeen = request.param(request)
    return opener


@pytest.fixture
def seen(open_it: OpenSeen) -> Iterator[Memory]:
    with closing(open_it()) as opened:
        yield opened


def test_only_recorded_ids_are_known(seen: Memory) -> None:
    seen.note({"a", "b"}, NOW)

    assert seen.known({"a", "b", "c"}) == {"a", "b"}
    assert seen.known(set()) == set()


def test_id_recorded_twice_is_recorded_once_with_its_first_time(seen: Memory) -> None:
    seen.note(["a", "b"], NOW)
    seen.note(["b", "c"], NOW + 100)

    assert seen.known("abc") == {"a", "b", "c"}
    assert seen.prune(NOW + 50) == 2
    assert seen.known("abc") == {"c"}


def test_recording_no_ids_changes_nothing(seen: Memory) -> None:
    seen.note([], NOW)

    assert seen.prune(NOW + 1) == 0


def test_recorded_id_is_known_to_other_stores_opened_before_and_after(open_it: OpenSeen) -> None:
    with closing(open_it()) as one, closing(open_it()) as other:
        one.note(["a"], NOW)
        beside = other.known(["a"])
    with closing(open_it()) as later:
        assert (beside, later.known(["a"])) == ({"a"}, {"a"})


def test_watermark_never_moves_back(open_it: OpenSeen) -> None:
    with closing(open_it()) as one, closing(open_it()) as other:
        before = one.watermarks()
        one.advance({"": NOW, "+16139998877": NOW})
        other.advance({"": NOW - 5, "+16139998877": NOW + 5, "+16139998878": NOW})
        one.advance({})

        assert before == {}
        assert one.watermarks() == {"": NOW, "+16139998877": NOW + 5, "+16139998878": NOW}


def test_any_number_of_ids_is_queried_and_recorded(seen: Memory) -> None:
    ids = {f"id-{number}" for number in range(2_500)}
    seen.note(ids, NOW)

    assert seen.known(ids | {"another"}) == ids


def test_prune_deletes_a_batch_of_the_oldest(seen: Memory) -> None:
    ids = [f"id-{number}" for number in range(NOTIFICATIONS + 10)]
    seen.note(ids, NOW)
    seen.note(["young"], NOW + 10)
    forgotten = []
    while some := seen.prune(NOW + 5):
        forgotten.append(some)

    assert sum(forgotten) == len(ids)
    assert max(forgotten) <= NOTIFICATIONS or isinstance(seen, MemorySeen)
    assert seen.known([*ids, "young"]) == {"young"}


def test_ids_recorded_by_several_at_once_are_recorded_once(open_it: OpenSeen) -> None:
    """In different orders."""
    ids = [f"id-{number}" for number in range(300)]
    failures: list[Exception] = []

    def note(mine: Sequence[str]) -> None:
        try:
            with closing(open_it()) as seen:
                for start in range(0, len(mine), 50):
                    seen.note(mine[start : start + 50], NOW)
        except LedgerUnavailable as e:
            failures.append(e)

    open_it().close()
    threads = [threading.Thread(target=note, args=(order,)) for order in (ids, ids[::-1], ids)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with closing(open_it()) as seen:
        known = seen.known(ids)

    assert failures == []
    assert known == set(ids)


# --- it does not wait for workers ---------------------------------------------------------------------------------


class Held:
    """A change that holds its transaction, and its locks, as long as a test wants."""

    def __init__(self) -> None:
        evidence = Evidence(
            message_id="m",
            sender_address=None,
            destination_address="+16131234567",
            text_key=text_key("hi"),
            sent_at=NOW,
        )
        self.read_set = ObservedMessage(evidence=evidence).read_set
        self.began, self.go_on = threading.Event(), threading.Event()

    def apply(self, _unit: Any) -> None:
        self.began.set()
        self.go_on.wait(20)


def test_lookup_does_not_wait_for_workers(ledger_url: str) -> None:
    held = Held()
    changes: list[Change] = [held]
    with closing(open_ledger(ledger_url)) as ledger, closing(open_seen(ledger_url)) as seen:
        seen.note(["a"], NOW)
        sending = threading.Thread(target=ledger.apply, args=(changes,))
        sending.start()
        held.began.wait(10)
        known = seen.known(["a", "b"])
        still_held = sending.is_alive()
        held.go_on.set()
        sending.join(10)

    assert (known, still_held) == ({"a"}, True)


def test_recording_on_postgresql_does_not_wait_for_locks(postgresql_url: str, postgresql: Postgres) -> None:
    with closing(open_seen(postgresql_url)) as seen:
        database = postgresql_url.rpartition("/")[2]
        with postgresql.connect(database) as holder, holder.transaction():
            # The whole ledger, as a migration or a large batch locks it.
            holder.execute("SELECT pg_advisory_xact_lock(%s)", (LEDGER_NUMBER,))
            seen.note(["a"], NOW)

        assert seen.known(["a"]) == {"a"}


# --- while it is unavailable --------------------------------------------------------------------------------------


def test_locked_file_is_unavailable_for_recording_until_it_is_unlocked(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(open_seen(f"sqlite:///{path}")) as seen:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable, match="locked"):
            seen.note(["a"], NOW)
        holder.execute("ROLLBACK")
        holder.close()
        seen.note(["a"], NOW)

        assert seen.known(["a"]) == {"a"}


def test_sessions_that_the_server_ended_are_opened_again(postgresql_url: str, postgresql: Postgres) -> None:
    with closing(open_seen(postgresql_url)) as seen:
        seen.note(["a"], NOW)
        ended = postgresql.end_sessions(postgresql_url.rpartition("/")[2])

        assert ended == 1
        assert seen.known(["a"]) == {"a"}


def test_server_that_is_down_or_silent_is_unavailable(postgresql_url: str, postgresql: Postgres) -> None:
    with closing(open_seen(postgresql_url)) as seen:
        seen.note(["a"], NOW)
        postgresql.freeze()
        with pytest.raises(LedgerUnavailable, match="no answer within"):
            seen.known(["a"])
        postgresql.thaw()
        postgresql.kill()
        with pytest.raises(LedgerUnavailable):
            seen.note(["b"], NOW)
        postgresql.start()
        seen.note(["b"], NOW)

        assert seen.known(["a", "b"]) == {"a", "b"}


def test_query_without_ids_reports_an_unavailable_ledger(postgresql_url: str, postgresql: Postgres) -> None:
    with closing(open_seen(postgresql_url)) as seen:
        postgresql.kill()
        with pytest.raises(LedgerUnavailable):
            seen.known([])
        postgresql.start()
