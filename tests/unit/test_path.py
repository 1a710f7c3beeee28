"""The tracer of `make path`: its counting rules, on an example program, and its beginning and end."""

from __future__ import annotations

import importlib
import json
import sqlite3
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.path.calls import Call, Path
from benchmarks.path.tracer import Tracer
from benchmarks.path.window import ACK, Window, watch_changes

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator
    from types import ModuleType

PROGRAM = {
    "__init__": "",
    "clock": """
from made_up import store

def now():
    return store.save(0)
""",
    "store": """
def save(number):
    return number

def rows():
    yield 1
    yield 2
""",
    "worker": """
import threading
from dataclasses import dataclass
from made_up import clock, store

@dataclass
class Command:
    number: int

def call():
    store.save(1)
    store.save(2)
    check()

def check():
    return [str(number) for number in range(3)]

def show_time():
    return clock.now()

def read_rows():
    return list(store.rows())

def run():
    return (lambda: Command(1))()

def call_on_a_thread():
    thread = threading.Thread(target=call, name="other")
    thread.start()
    thread.join()
""",
}


@pytest.fixture
def worker(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    directory = tmp_path / "made_up"
    directory.mkdir()
    for name, source in PROGRAM.items():
        (directory / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("made_up.worker")
    for name in [name for name in sys.modules if name.split(".")[0] == "made_up"]:
        del sys.modules[name]


@pytest.fixture
def tracer(tmp_path: pathlib.Path) -> Iterator[Tracer]:
    tracer = Tracer(tmp_path / "made_up")
    tracer.install()
    tracer.is_on = True
    yield tracer
    tracer.remove()


def traced(tracer: Tracer, function: Callable[[], object]) -> list[tuple[str, str]]:
    function()
    tracer.is_on = False
    return [(call.file, call.function) for call in tracer.calls]


def test_tracer_keeps_calls_in_their_order(worker: ModuleType, tracer: Tracer) -> None:
    assert traced(tracer, worker.call) == [
        ("worker.py", "call"), ("store.py", "save"), ("store.py", "save"), ("worker.py", "check"),
    ]  # fmt: skip


def test_lambda_is_a_call_and_method_without_a_file_is_not(worker: ModuleType, tracer: Tracer) -> None:
    assert traced(tracer, worker.run) == [("worker.py", "run"), ("worker.py", "run.<locals>.<lambda>")]


def test_resumption_of_a_generator_is_a_call(worker: ModuleType, tracer: Tracer) -> None:
    assert traced(tracer, worker.read_rows) == [("worker.py", "read_rows"), *[("store.py", "rows")] * 3]


def test_clock_is_left_out_with_its_calls(worker: ModuleType, tracer: Tracer) -> None:
    assert traced(tracer, worker.show_time) == [("worker.py", "show_time")]


def test_calls_on_a_new_thread_have_its_name(worker: ModuleType, tracer: Tracer) -> None:
    worker.call_on_a_thread()
    tracer.is_on = False

    threads = [call.thread for call in tracer.calls]
    assert threads[1:] == ["other"] * 4
    assert threads[0] != "other"


def test_return_is_a_step_in_a_file_that_was_left_before() -> None:
    path = Path.of(
        [Call("a", "one", "f"), Call("a", "one", "g"), Call("a", "two", "h"), Call("a", "one", "f")]
    )

    assert [(stay.file, stay.functions) for stay in path.stays] == [
        ("one", ["f", "g"]), ("two", ["h"]), ("one", ["f"]),
    ]  # fmt: skip
    assert (path.calls, dict(path.files), path.returns) == (4, {"one": 2, "two": 1}, 1)


def test_call_on_another_thread_does_not_end_a_step() -> None:
    path = Path.of([Call("a", "one", "f"), Call("b", "two", "h"), Call("a", "one", "g")])

    assert [(stay.thread, stay.functions) for stay in path.stays] == [("a", ["f", "g"]), ("b", ["h"])]
    assert path.returns == 0


def test_command_is_traced_from_its_delivery_to_its_acknowledgement(tmp_path: pathlib.Path) -> None:
    tracer, out = Tracer(tmp_path), tmp_path / "out"
    window = Window(tracer, out)

    window.read(b"a frame with traced-command-1")
    tracer.calls.append(Call("a", "one", "f"))
    window.changed()
    assert tracer.is_on

    window.wrote(b"\x01\x00\x01\x00\x00\x00\x0d" + ACK)
    assert not tracer.is_on
    assert json.loads(out.read_text()) == ["command", [["a", "one", "f"]]]

    window.read(b"traced-command-1, in the provider's history")
    assert not tracer.is_on


def test_webhook_is_traced_until_it_is_answered_and_remembered(tmp_path: pathlib.Path) -> None:
    tracer = Tracer(tmp_path)
    window = Window(tracer, tmp_path / "out")

    window.read(b"POST / HTTP/1.1, traced-webhook-1")
    window.wrote(b"a frame with the event")
    window.wrote(b"HTTP/1.1 204 No Content")
    assert tracer.is_on

    window.changed()
    assert not tracer.is_on


def test_change_counts_once_it_is_committed() -> None:
    changes: list[bool] = []
    connection = sqlite3.connect(":memory:", isolation_level=None)
    watch_changes(connection, lambda: changes.append(True))
    counts = []
    for statement in ("CREATE TABLE t (a)", "INSERT INTO t VALUES (1)", "BEGIN", "SELECT * FROM t", "COMMIT",
                      "BEGIN", "DELETE FROM t", "ROLLBACK", "BEGIN", "UPDATE t SET a = 2", "COMMIT"):  # fmt: skip
        connection.execute(statement)
        counts.append(len(changes))
    connection.close()

    assert counts == [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]
