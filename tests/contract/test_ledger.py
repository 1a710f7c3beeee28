"""One suite for every ledger: in one step or not at all, in order, durable, one writer at a time."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import pytest

from bridge.adapters.store import open_ledger
from bridge.adapters.store.memory import MemoryLedger
from bridge.adapters.store.sqlite import open_sqlite
from bridge.core.commands import CommandRules, SendSms, parse_command
from bridge.core.ledger import (
    Call,
    Claim,
    Conflict,
    File,
    Filed,
    Filing,
    HandOver,
    Later,
    Look,
    Needs,
    Slate,
    Tell,
)
from bridge.core.outcomes import Outcome, Result, Style
from bridge.core.rules import LedgerRules
from bridge.ports import Ledger, LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOW = 1_800_000_000.0
STYLE = Style(source="/sms-bridge/sms")
RULES = LedgerRules(lease=30.0)


class OpenLedger(Protocol):
    """Opens the ledger under test; again and again it is the same one."""

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
    body = b'{"destination_address": ["+16131234567", "+16131234568"], "message": "hi"}'
    parsed = parse_command(body, id, rules=CommandRules(), now=NOW)
    assert isinstance(parsed, SendSms)
    return replace(parsed, content_hash=message.encode())


def claim(
    index: int = 0,
    *,
    of: SendSms | None = None,
    owner: str = "one",
    now: float = NOW,
    rules: LedgerRules = RULES,
) -> Claim:
    return Claim(command=of or command(), index=index, owner=owner, now=now, style=STYLE, rules=rules)


def file(
    index: int = 0,
    *,
    of: SendSms | None = None,
    owner: str = "one",
    message_id: str = "m-1",
    retry_at: float | None = None,
    doubtful: bool = False,
) -> File:
    sending = of or command()
    assert sending.id is not None
    filing = Filing(outcome=Outcome.SENT, result=Result(attempts=1, message_id=message_id))
    if retry_at is not None:
        filing = Filing(outcome=None, result=Result(attempts=1), retry_at=retry_at, doubtful=doubtful)
    return File(
        command=sending, command_id=sending.id, index=index, owner=owner, filing=filing, now=NOW, style=STYLE
    )


def filed(result: object) -> Filed:
    assert isinstance(result, Filed)
    return result


@dataclass(frozen=True)
class Breaking:
    """A change that fails half way through a batch."""

    @property
    def needs(self) -> Needs:
        return Needs(command_id="order-17")

    def apply(self, slate: Slate) -> object:
        raise ZeroDivisionError


def test_what_was_filed_is_told_again_byte_for_byte(ledger: Ledger) -> None:
    assert ledger.apply([claim()]) == [Call(attempts=0, first_attempt_at=NOW, generation=0)]
    outcome = filed(ledger.apply([file()])[0])

    [told] = ledger.apply([claim(owner="two")])

    assert isinstance(told, Tell)
    assert outcome.outcome is told.outcome is Outcome.SENT
    assert outcome.told == told.told


def test_the_changes_of_a_batch_see_each_other_in_order(ledger: Ledger) -> None:
    hand_over = HandOver(command_id="order-17", generation=0, now=NOW)
    results = ledger.apply([claim(), claim(owner="two"), file(retry_at=NOW + 5), hand_over, hand_over])

    assert isinstance(results[0], Call)
    assert isinstance(results[1], Later)
    assert results[2:] == [Filed(retry_at=NOW + 5), 1, None]


def test_a_batch_keeps_commands_and_submissions_apart(ledger: Ledger) -> None:
    other = command("order-18")
    results = ledger.apply([claim(0), claim(1), claim(0, of=other), file(1)])

    assert [type(result) for result in results] == [Call, Call, Call, Filed]
    assert isinstance(ledger.apply([claim(0, owner="two")])[0], Later)
    assert isinstance(ledger.apply([claim(1, owner="two")])[0], Tell)
    assert isinstance(ledger.apply([claim(0, of=other, owner="two")])[0], Later)


def test_a_change_of_one_submission_leaves_the_others_as_they_are(ledger: Ledger) -> None:
    ledger.apply([claim(0), claim(1)])
    ledger.apply([file(0)])
    ledger.apply([HandOver(command_id="order-17", generation=0, now=NOW)])

    assert isinstance(ledger.apply([claim(0)])[0], Tell)
    assert filed(ledger.apply([file(1)])[0]).outcome is Outcome.SENT


def test_an_id_with_other_content_is_a_conflict(ledger: Ledger) -> None:
    ledger.apply([claim()])

    assert ledger.apply([claim(of=command(message="other"))]) == [Conflict()]


def test_ids_differ_to_the_letter(ledger: Ledger) -> None:
    ids = ["a", "A", "a ", "é", "e\u0301", "%", "_", "'", "💬"]
    results = ledger.apply([claim(of=command(id_)) for id_ in ids])

    assert [type(result) for result in results] == [Call] * len(ids)


def test_a_batch_that_breaks_leaves_nothing(ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError):
        ledger.apply([claim(), Breaking()])

    assert isinstance(ledger.apply([claim(owner="two")])[0], Call)


def test_nothing_to_change_is_no_trouble(ledger: Ledger) -> None:
    assert ledger.apply([]) == []
    assert ledger.apply([HandOver(command_id="nobody", generation=0, now=NOW), file()]) == [None, None]


def test_a_big_fan_out_fits_in_one_batch(ledger: Ledger) -> None:
    commands = [command(f"order-{number}") for number in range(1200)]
    results = ledger.apply([claim(of=one) for one in commands])

    assert {type(result) for result in results} == {Call}


def test_a_claim_survives_the_process(open_again: OpenLedger) -> None:
    ledger = open_again()
    ledger.apply([claim(), file(retry_at=NOW + 5.125), claim(1)])
    ledger.close()

    again = open_again()
    first, second, late = again.apply([claim(), claim(1, owner="two"), claim(1, owner="two", now=NOW + 31)])
    again.close()

    assert first == Later(at=NOW + 5.125, own=True, generation=0)
    assert isinstance(second, Later)
    assert late == Look(generation=0)


def test_of_many_that_race_for_one_command_one_calls(open_again: OpenLedger) -> None:
    start = threading.Barrier(4)
    verdicts: list[object] = []

    def race(owner: str) -> None:
        start.wait(timeout=10)
        ledger = open_again()
        for number in range(10):
            verdicts.extend(ledger.apply([claim(of=command(f"order-{number}"), owner=owner)]))
        ledger.close()

    threads = [threading.Thread(target=race, args=(f"worker-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    assert len(verdicts) == 40
    assert sum(isinstance(verdict, Call) for verdict in verdicts) == 10


# --- SQLite ----------------------------------------------------------------------------------------------------------


def unavailable(action: Callable[[], object]) -> str:
    with pytest.raises(LedgerUnavailable) as caught:
        action()
    return str(caught.value)


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(f"sqlite:///{path}")
    ledger.apply([claim()])
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    ledger.close()

    assert set(modes.values()) == {0o600}, modes


def test_a_ledger_that_another_holds_for_too_long_is_unavailable_and_unchanged(tmp_path: Path) -> None:
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


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"no database at all, but long enough to be looked at" * 20)
    before = path.read_bytes()

    reason = unavailable(lambda: open_sqlite(str(path)))

    assert "not a database" in reason
    assert path.read_bytes() == before


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    reason = unavailable(lambda: open_sqlite(str(tmp_path / "nowhere" / "ledger.db")))

    assert str(tmp_path / "nowhere" / "ledger.db") in reason


def test_a_directory_is_no_ledger(tmp_path: Path) -> None:
    assert "unable to open" in unavailable(lambda: open_sqlite(str(tmp_path)))


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_directory_that_takes_no_file_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    assert "Permission denied" in unavailable(lambda: open_sqlite(str(tmp_path / "ledger.db")))


def test_a_ledger_that_became_read_only_is_unavailable_and_unchanged(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.db")
    ledger = open_sqlite(path)
    with ledger._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")

    reason = unavailable(lambda: ledger.apply([claim()]))
    ledger.close()
    again = open_sqlite(path)
    verdicts = again.apply([claim(owner="two")])
    again.close()

    assert "readonly" in reason
    assert isinstance(verdicts[0], Call)


def test_any_name_of_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "led?ger#1 %41.db"
    open_ledger(f"sqlite:///{path}").close()

    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_another_programs_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE commands (something TEXT)")
    other.close()

    assert unavailable(lambda: open_sqlite(str(path)).apply([claim()]))


@pytest.mark.parametrize("url", ["", "sqlite:///", "mysql://localhost/x", "sqlite://", "/path"])
def test_an_url_that_names_no_ledger_is_refused(url: str) -> None:
    assert "ledger.url" in unavailable(lambda: open_ledger(url))


def test_the_reason_shows_neither_number_nor_text(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.db")
    ledger = open_sqlite(path)
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE submissions")
    other.close()

    reason = unavailable(lambda: ledger.apply([claim(), file()]))
    ledger.close()

    assert "no such table" in reason
    assert "16131234567" not in reason
    assert "order-17" not in reason
