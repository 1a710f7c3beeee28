"""The contract of ledgers: changes are atomic, ordered and durable, with one writer at a time."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import pytest

from bridge.adapters.store import open_ledger
from bridge.adapters.store.ledger import SqlLedger
from bridge.adapters.store.retention import BATCH
from bridge.adapters.store.sqlite import open_sqlite
from bridge.domain.evidence import Evidence, HistoryExtract
from bridge.domain.ledger import (
    Call,
    Claim,
    Conflict,
    HasOutcome,
    Lookup,
    NewVersion,
    NextStep,
    NotBefore,
    ReadSet,
    RecordAnswer,
    RecordedResult,
    Resolve,
    Restored,
    UnitOfWork,
)
from bridge.domain.lineage import Remembered
from bridge.domain.match_keys import text_key
from bridge.domain.outcomes import EventFormat, Outcome, SubmissionResult
from bridge.domain.rules import LedgerRules, LimitRules
from bridge.ports import ChangeRefused, Ledger, LedgerUnavailable, LedgerUnusable
from tests.fakes.ledger import MemoryLedger
from tests.harness.commands import NOW, read_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bridge.domain.commands import SendSms
    from bridge.domain.ledger import Change

STYLE = EventFormat(source="/sms-bridge/sms")
RULES = LedgerRules(lease=30.0)


class OpenLedger(Protocol):
    """Opens the ledger under test; each call opens the same one."""

    def __call__(self) -> Ledger: ...


def in_memory(_: pytest.FixtureRequest) -> OpenLedger:
    ledger = MemoryLedger()
    return lambda: ledger


def on_sqlite(request: pytest.FixtureRequest) -> OpenLedger:
    path = request.getfixturevalue("tmp_path") / "ledger.db"
    return lambda: open_ledger(f"sqlite:///{path}")


def on_postgresql(request: pytest.FixtureRequest) -> OpenLedger:
    url = request.getfixturevalue("postgresql_url")
    return lambda: open_ledger(url)


LEDGERS = {"memory": in_memory, "sqlite": on_sqlite, "postgresql": on_postgresql}
DURABLE = {name: opener for name, opener in LEDGERS.items() if name != "memory"}


@pytest.fixture(params=list(LEDGERS.values()), ids=list(LEDGERS))
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    opened = request.param(request)()
    yield opened
    opened.close()


@pytest.fixture(params=list(DURABLE.values()), ids=list(DURABLE))
def open_again(request: pytest.FixtureRequest) -> OpenLedger:
    opener: OpenLedger = request.param(request)
    return opener


def command(id: str = "order-17", message: str = "hi") -> SendSms:  # noqa: A002 - the field's name
    return read_command({"id": id}, content_hash=message.encode())


def claim(
    index: int = 0,
    *,
    of: SendSms | None = None,
    owner: str = "one",
    now: float = NOW,
    rules: LedgerRules = RULES,
) -> Claim:
    return Claim(command=of or command(), index=index, owner=owner, now=now, style=STYLE, rules=rules)


def record(
    index: int = 0,
    *,
    of: SendSms | None = None,
    owner: str = "one",
    message_id: str = "m-1",
    retry_at: float | None = None,
    in_doubt: bool = False,
) -> RecordAnswer:
    sending = of or command()
    assert sending.id is not None
    next_step = NextStep(outcome=Outcome.SENT, result=SubmissionResult(attempts=1, message_id=message_id))
    if retry_at is not None:
        next_step = NextStep(
            outcome=None, result=SubmissionResult(attempts=1), retry_at=retry_at, in_doubt=in_doubt
        )
    return RecordAnswer(
        command=sending,
        command_id=sending.id,
        index=index,
        owner=owner,
        next_step=next_step,
        now=NOW,
        style=STYLE,
    )


def recorded(result: object) -> RecordedResult:
    assert isinstance(result, RecordedResult)
    return result


@dataclass(frozen=True)
class Breaking:
    """A change that fails in the middle of a batch."""

    @property
    def read_set(self) -> ReadSet:
        return ReadSet(command_id="order-17")

    def apply(self, unit: UnitOfWork) -> object:
        raise ZeroDivisionError


def test_recorded_outcome_is_published_again_byte_for_byte(ledger: Ledger) -> None:
    assert ledger.apply([claim()]) == [Call(attempts=0, first_attempt_at=NOW, version=0)]
    outcome = recorded(ledger.apply([record()])[0])

    [stored_event] = ledger.apply([claim(owner="two")])

    assert isinstance(stored_event, HasOutcome)
    assert outcome.outcome is stored_event.outcome is Outcome.SENT
    assert outcome.stored_event == stored_event.stored_event


def test_changes_of_a_batch_see_the_previous_ones_in_order(ledger: Ledger) -> None:
    reschedule = NewVersion(command_id="order-17", version=0, now=NOW)
    results = ledger.apply([claim(), claim(owner="two"), record(retry_at=NOW + 5), reschedule, reschedule])

    assert isinstance(results[0], Call)
    assert isinstance(results[1], NotBefore)
    assert results[2:] == [RecordedResult(retry_at=NOW + 5), 1, None]


def test_batch_does_not_mix_commands_and_submissions(ledger: Ledger) -> None:
    other = command("order-18")
    results = ledger.apply([claim(0), claim(1), claim(0, of=other), record(1)])

    assert [type(result) for result in results] == [Call, Call, Call, RecordedResult]
    assert isinstance(ledger.apply([claim(0, owner="two")])[0], NotBefore)
    assert isinstance(ledger.apply([claim(1, owner="two")])[0], HasOutcome)
    assert isinstance(ledger.apply([claim(0, of=other, owner="two")])[0], NotBefore)


def test_change_of_one_submission_leaves_the_others_unchanged(ledger: Ledger) -> None:
    ledger.apply([claim(0), claim(1)])
    ledger.apply([record(0)])
    ledger.apply([NewVersion(command_id="order-17", version=0, now=NOW)])

    assert isinstance(ledger.apply([claim(0)])[0], HasOutcome)
    assert recorded(ledger.apply([record(1)])[0]).outcome is Outcome.SENT


def test_repeated_id_with_different_content_is_a_conflict(ledger: Ledger) -> None:
    ledger.apply([claim()])

    assert ledger.apply([claim(of=command(message="other"))]) == [Conflict()]


def test_ids_are_case_sensitive(ledger: Ledger) -> None:
    ids = ["a", "A", "a ", "é", "e\u0301", "%", "_", "'", "💬"]
    results = ledger.apply([claim(of=command(id_)) for id_ in ids])

    assert [type(result) for result in results] == [Call] * len(ids)


def test_batch_with_a_failing_change_is_rolled_back(ledger: Ledger) -> None:
    with pytest.raises(ChangeRefused, match="Breaking raised ZeroDivisionError"):
        ledger.apply([claim(), Breaking()])

    assert isinstance(ledger.apply([claim(owner="two")])[0], Call)


def test_empty_batch_is_applied(ledger: Ledger) -> None:
    assert ledger.apply([]) == []
    assert ledger.apply([NewVersion(command_id="unknown", version=0, now=NOW), record()]) == [None, None]


def test_command_with_many_destinations_fits_into_one_batch(ledger: Ledger) -> None:
    commands = [command(f"order-{number}") for number in range(1200)]
    results = ledger.apply([claim(of=one) for one in commands])

    assert {type(result) for result in results} == {Call}


def test_claim_is_found_when_the_ledger_is_opened_again(open_again: OpenLedger) -> None:
    ledger = open_again()
    ledger.apply([claim(), record(retry_at=NOW + 5.125), claim(1)])
    ledger.close()

    again = open_again()
    first, second, late = again.apply([claim(), claim(1, owner="two"), claim(1, owner="two", now=NOW + 31)])
    again.close()

    assert first == NotBefore(at=NOW + 5.125, own=True, version=0)
    assert isinstance(second, NotBefore)
    assert late == Lookup(version=0)


def race(open_again: OpenLedger, *iterations: Sequence[Change]) -> list[list[object]]:
    """Apply the changes of each iteration concurrently, each by a separate worker; one iteration after the other."""
    workers = len(iterations[0])
    start = threading.Barrier(workers)
    results: list[list[object]] = [[None] * workers for _ in iterations]

    def work(number: int) -> None:
        ledger = open_again()
        for changes, got in zip(iterations, results, strict=True):
            start.wait(timeout=30)
            [got[number]] = ledger.apply([changes[number]])
        ledger.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


def test_one_of_several_concurrent_claims_of_a_command_is_granted(open_again: OpenLedger) -> None:
    open_again().close()
    iterations = [
        [claim(of=command(f"order-{number}"), owner=f"worker-{worker}") for worker in range(4)]
        for number in range(25)
    ]

    for verdicts in race(open_again, *iterations):
        assert sorted(type(verdict).__name__ for verdict in verdicts) == [
            "Call",
            "NotBefore",
            "NotBefore",
            "NotBefore",
        ]


def test_new_ledger_opened_by_several_workers_at_once_is_the_same_for_all(open_again: OpenLedger) -> None:
    [verdicts] = race(open_again, [claim(owner=f"worker-{worker}") for worker in range(4)])

    assert sum(isinstance(verdict, Call) for verdict in verdicts) == 1


def test_message_is_assigned_to_one_of_two_identical_commands_looked_up_at_once(
    open_again: OpenLedger,
) -> None:
    ledger = open_again()
    iterations = []
    for number in range(15):
        identical = [command(f"{number}-{worker}") for worker in range(2)]
        # Each pair has a different message, later than the one that the previous pair found.
        pair = [replace(command_, message=f"hi {number}") for command_ in identical]
        ledger.apply([claim(of=command_) for command_ in pair])
        ledger.apply([record(of=command_, retry_at=NOW, in_doubt=True) for command_ in pair])
        assert (
            ledger.apply([claim(of=command_, owner="history_lookups") for command_ in pair])
            == [Lookup(version=0)] * 2
        )
        iterations.append([resolve(command_, f"m-{number}") for command_ in pair])
    ledger.close()

    for results in race(open_again, *iterations):
        outcomes = {recorded(result).outcome for result in results}
        assert outcomes == {Outcome.SENT, None}


def test_history_of_70000_messages_is_searched(open_again: OpenLedger) -> None:
    ledger = open_again()
    ours = command("order-17")
    ledger.apply([claim(of=ours)])
    assert ledger.apply([claim(of=ours, owner="history_lookups", now=NOW + 500)]) == [Lookup(version=0)]
    results = ledger.apply([resolve(ours, *(f"m-{number}" for number in range(70_000)))])
    ledger.close()

    assert recorded(results[0]).outcome is Outcome.SENT


def resolve(of: SendSms, *message_ids: str) -> Resolve:
    """Return the change of a lookup that found some messages, long after the attempt."""
    assert of.id is not None
    messages = tuple(
        Evidence(
            message_id=message_id,
            sender_address=None,
            destination_address=of.destinations[0].wire,
            text_key=text_key(of.message),
            sent_at=NOW,
        )
        for message_id in message_ids
    )
    return Resolve(
        command=of,
        command_id=of.id,
        index=0,
        owner="history_lookups",
        reading=HistoryExtract(messages=messages, total=len(messages), read_at=NOW + 1000),
        now=NOW + 1000,
        style=STYLE,
        rules=RULES,
    )


def test_concurrent_claims_share_one_rate_limit(open_again: OpenLedger) -> None:
    open_again().close()
    limited = replace(RULES, limits=LimitRules(account_per_second=2.0))
    iterations = [
        [claim(of=command(f"{number}-{worker}"), rules=limited) for worker in range(3)] for number in range(8)
    ]

    verdicts = [verdict for round_ in race(open_again, *iterations) for verdict in round_]
    reservations = sorted(verdict.at for verdict in verdicts if isinstance(verdict, NotBefore))

    assert sum(isinstance(verdict, Call) for verdict in verdicts) == 2
    assert reservations == [NOW + 0.5 * number for number in range(1, 23)]


def test_late_submissions_share_one_queue_and_keep_their_positions(open_again: OpenLedger) -> None:
    limited = replace(RULES, limits=LimitRules(account_per_second=1.0))
    commands = [command(str(number)) for number in range(6)]
    late = NOW + 60

    def claim_at(of: SendSms, at: float) -> object:
        with closing(open_again()) as ledger:
            [verdict] = ledger.apply([claim(of=of, now=at, rules=limited)])
        return verdict

    for of in commands:
        claim_at(of, NOW)
    first, *queued = [claim_at(of, late) for of in commands[1:]]
    on_time = claim_at(commands[2], late + 1)
    fresh = claim_at(command("9"), late + 1)

    assert isinstance(first, Call)
    assert [verdict.at for verdict in queued if isinstance(verdict, NotBefore)] == [
        late + 1,
        late + 2,
        late + 3,
        late + 4,
    ]
    assert isinstance(on_time, Call)
    assert isinstance(fresh, NotBefore)
    assert fresh.at == late + 5


def test_ledger_keeps_its_name_and_its_adoption_when_opened_again(open_again: OpenLedger) -> None:
    ledger = open_again()
    other = open_again()
    assert isinstance(ledger, SqlLedger)
    assert isinstance(other, SqlLedger)
    ledger.lineages.adopt(NOW, is_backup=False, max_age=400.0)
    before = other.lineages.restored
    other.lineages.recall()

    assert (before, other.lineages.restored) == (None, Restored(at=NOW, since=NOW - 400.0))
    assert other.identity == ledger.identity
    own, _ = ledger.lineages.recall()
    ledger.lineages.rename("another", own)
    buffered = other.identity
    remembered = other.lineages.recall()

    assert buffered != other.identity == ledger.identity == "another"
    assert remembered == (own, None if own is None else Remembered(own, is_marked=True))
    ledger.close()
    other.close()


def test_old_commands_are_pruned_in_batches(open_again: OpenLedger) -> None:
    ledger = open_again()
    assert isinstance(ledger, SqlLedger)
    ended = [command(f"order-{number}") for number in range(BATCH + 50)]
    ledger.apply([claim(of=one) for one in ended])
    ledger.apply([record(of=one, message_id=one.id or "") for one in ended])
    still_open = command("open")
    ledger.apply([claim(0, of=still_open), claim(1, of=still_open), record(0, of=still_open)])

    assert ledger.prune(NOW) == 0
    assert [ledger.prune(NOW + 1) for _ in range(3)] == [BATCH, 50, 0]
    verdicts = ledger.apply(
        [
            claim(index, of=one, owner="two")
            for index, one in ((0, ended[0]), (0, still_open), (1, still_open))
        ]
    )
    assert [type(verdict) for verdict in verdicts] == [Call, HasOutcome, NotBefore]
    ledger.close()


# --- SQLite ----------------------------------------------------------------------------------------------------------


def unavailable(action: Callable[[], object]) -> str:
    with pytest.raises(LedgerUnavailable) as caught:
        action()
    return str(caught.value)


def test_ledger_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(f"sqlite:///{path}")
    ledger.apply([claim()])
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    ledger.close()

    assert set(modes.values()) == {0o600}, modes


def test_ledger_locked_for_too_long_is_unavailable_and_unchanged(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.db")
    ledger = open_sqlite(path, busy_timeout=0.05)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    reason = unavailable(lambda: ledger.apply([claim()]))
    holder.execute("ROLLBACK")
    holder.close()
    after = ledger.apply([claim(owner="two")])
    ledger.close()

    assert "locked" in reason
    assert isinstance(after[0], Call)


def test_opening_waits_for_another_process_that_creates_the_ledger(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.db")
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(open_sqlite, path)
        early, _ = wait([opening], timeout=0.2)
        other.execute("COMMIT")
        ledger = opening.result(timeout=30)
    other.close()
    verdicts = ledger.apply([claim()])
    ledger.close()

    assert not early
    assert isinstance(verdicts[0], Call)


def test_file_that_is_not_a_database_is_refused_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"no database at all, but long enough to be looked at" * 20)
    before = path.read_bytes()

    reason = unavailable(lambda: open_sqlite(str(path)))

    assert "not a database" in reason
    assert path.read_bytes() == before


def test_missing_directory_is_named_in_the_error(tmp_path: Path) -> None:
    reason = unavailable(lambda: open_sqlite(str(tmp_path / "nowhere" / "ledger.db")))

    assert str(tmp_path / "nowhere" / "ledger.db") in reason


def test_directory_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    assert f"{tmp_path}: OperationalError: unable to open" in unavailable(lambda: open_sqlite(str(tmp_path)))


@pytest.mark.skipif(os.geteuid() == 0, reason="no file is read-only to root")
def test_read_only_directory_is_named_in_the_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    assert "Permission denied" in unavailable(lambda: open_sqlite(str(tmp_path / "ledger.db")))


def test_ledger_that_became_read_only_is_unavailable_and_unchanged(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.db")
    ledger = open_sqlite(path)
    with ledger._database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")

    reason = unavailable(lambda: ledger.apply([claim()]))
    ledger.close()
    again = open_sqlite(path)
    verdicts = again.apply([claim(owner="two")])
    again.close()

    assert "readonly" in reason
    assert isinstance(verdicts[0], Call)


@pytest.mark.parametrize("another", [False, True], ids=["removed", "replaced"])
@pytest.mark.parametrize("which", ["ledger.db*", "ledger.db-*", "ledger.db-wal"])
def test_ledger_file_removed_or_replaced_while_open_is_no_longer_written_to(
    tmp_path: Path, which: str, *, another: bool
) -> None:
    path, aside = tmp_path / "ledger.db", tmp_path / "aside"
    aside.mkdir()
    ledger = open_sqlite(str(path))
    ledger.apply([claim()])
    parts = list(tmp_path.glob(which))
    for part in parts:
        part.rename(aside / part.name)
    if another:
        for part in parts:
            part.touch()

    with pytest.raises(LedgerUnusable, match="removed or replaced"):
        ledger.apply([record()])
    with pytest.raises(LedgerUnusable):
        ledger.time()
    for part in parts:
        (aside / part.name).rename(part)
    # Unchanged: nothing of the failed batch was written.
    verdicts = ledger.apply([record()])
    ledger.close()

    assert recorded(verdicts[0]).stored_event is not None


def test_log_deleted_with_the_last_connection_is_created_again(tmp_path: Path) -> None:
    ledger = open_sqlite(str(tmp_path / "ledger.db"))
    # As after an error that costs the connection.
    with ledger._database.engine.connect() as connection:
        connection.invalidate()
    assert not (tmp_path / "ledger.db-wal").exists()
    (tmp_path / "in its place").touch()

    assert isinstance(ledger.apply([claim()])[0], Call)
    assert ledger.time() is None
    ledger.close()


def test_change_that_the_driver_cannot_write_is_refused_alone(open_again: OpenLedger) -> None:
    ledger = open_again()

    with pytest.raises(ChangeRefused):
        ledger.apply([claim(of=replace(command(), id="\ud800"))])
    assert isinstance(ledger.apply([claim()])[0], Call)
    ledger.close()


def test_file_name_with_special_characters_is_used_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "led ger#1 %41.db"
    open_ledger(f"sqlite:///{path}").close()

    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_database_of_another_program_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE commands (something TEXT)")
    other.close()

    assert unavailable(lambda: open_sqlite(str(path)).apply([claim()]))


@pytest.mark.parametrize("url", ["", "sqlite:///", "mysql://localhost/x", "sqlite://", "/path"])
def test_url_without_a_ledger_is_refused(url: str) -> None:
    assert "ledger.url" in unavailable(lambda: open_ledger(url))


def test_error_contains_neither_number_nor_text(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.db")
    ledger = open_sqlite(path)
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE submissions")
    other.close()

    reason = unavailable(lambda: ledger.apply([claim(), record()]))
    ledger.close()

    assert "no such table" in reason
    assert "16131234567" not in reason
    assert "order-17" not in reason
