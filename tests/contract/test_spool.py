"""The contract of spools, and the behaviour of the SQLite spool when its disk or file fails."""

from __future__ import annotations

import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from bridge.adapters.spool import open_spool, read_damaged, rename
from bridge.domain.events import Event
from bridge.ports import SPOOL_OVERHEAD, SpoolUnavailable
from tests.fakes.spool import FakeSpool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.ports import Spool

NOW = 1_800_000_000.0


def event(number: int, size: int = 500) -> Event:
    return Event(
        id=f"id-{number}", type="sms.inbound.received", subject=None, body=b"%d" % number * (size // 4)
    )


def events(*numbers: int) -> list[Event]:
    return [event(number) for number in numbers]


def ids(spool: Spool, after: int = 0) -> list[str]:
    return [spooled.event.id for spooled in spool.oldest(10_000, after=after)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture(params=["memory", "sqlite"])
def spool(request: pytest.FixtureRequest, directory: Path) -> Iterator[Spool]:
    """Run the test with each spool."""
    opened: Spool = FakeSpool() if request.param == "memory" else open_spool(directory)
    yield opened
    opened.close()


def test_events_come_back_byte_for_byte_the_oldest_first(spool: Spool) -> None:
    unusual = Event(
        id="unusual", type="sms.message.event", subject="a command", body=b'\x00\xff\n{"' * 50_000
    )
    spool.change([event(1), unusual], [], now=NOW)
    spool.change(events(2), [], now=NOW + 1)
    found = spool.oldest(10, after=0)

    assert [spooled.event for spooled in found] == [event(1), unusual, event(2)]
    assert ids(spool, after=found[1].number) == ["id-2"]
    assert [spooled.event.id for spooled in spool.oldest(1, after=0)] == ["id-1"]


def test_contents_are_counted(spool: Spool) -> None:
    assert spool.contents.events == spool.contents.bytes == 0
    assert spool.contents.oldest_at is None
    spool.change(events(1), [], now=NOW)
    spool.change(events(2, 3), ["id-1"], now=NOW + 1)

    size = sum(len(one.body) + SPOOL_OVERHEAD for one in events(2, 3))
    assert (spool.contents.events, spool.contents.bytes) == (2, size)
    assert spool.contents.oldest_at == NOW + 1
    spool.change([], ["id-2", "id-3"], now=NOW)
    assert (spool.contents.events, spool.contents.bytes, spool.contents.oldest_at) == (0, 0, None)


def test_event_with_an_existing_id_does_not_replace_it(spool: Spool) -> None:
    other = Event(id="id-1", type="sms.inbound.received", subject=None, body=b"other")
    spool.change([event(1), other], [], now=NOW)
    before = spool.contents
    spool.change([other], [], now=NOW + 1)

    assert [spooled.event for spooled in spool.oldest(10, after=0)] == [event(1)]
    assert spool.contents == before


def test_removing_an_unknown_id_has_no_effect(spool: Spool) -> None:
    spool.change(events(1), ["id-7"], now=NOW)

    assert ids(spool) == ["id-1"]


def test_event_added_and_removed_in_one_change_is_removed(spool: Spool) -> None:
    spool.change(events(1, 2), ["id-1"], now=NOW)

    assert ids(spool) == ["id-2"]


def test_event_numbers_are_not_reused(spool: Spool) -> None:
    spool.change(events(1, 2), [], now=NOW)
    last = spool.oldest(10, after=0)[-1].number
    spool.change([], ["id-1", "id-2"], now=NOW)
    spool.change(events(2), [], now=NOW)

    assert ids(spool, after=last) == ["id-2"]


def test_probe_changes_nothing(spool: Spool) -> None:
    spool.change(events(1), [], now=NOW)
    before = spool.contents
    spool.probe()

    assert (spool.contents, ids(spool)) == (before, ["id-1"])


# --- on the disk -----------------------------------------------------------------------------------------------


def filled(directory: Path, number: int) -> Path:
    """Store that many events, close the spool and return its file."""
    with closing(open_spool(directory)) as spool:
        spool.change([event(n) for n in range(number)], [], now=NOW)
    return directory / "events.sqlite3"


def damage(path: Path, offset: int, bytes_: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes_)


def test_events_survive_a_kill_of_the_process(directory: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from bridge.adapters.spool import open_spool;"
        "from tests.contract.test_spool import events;"
        "open_spool(Path(sys.argv[1])).change(events(1, 2), [], now=1.0); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, directory], timeout=30, check=False)
    with closing(open_spool(directory)) as spool:
        assert done.returncode == -signal.SIGKILL
        assert ids(spool) == ["id-1", "id-2"]
        assert spool.contents.damaged == 0


def test_spool_is_readable_by_its_owner_only(directory: Path) -> None:
    with closing(open_spool(directory)) as spool:
        spool.change(events(1), [], now=NOW)
        modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}

    assert directory.stat().st_mode & 0o777 == 0o700
    assert set(modes.values()) == {0o600}
    assert {"events.sqlite3", "events.sqlite3-wal"} <= modes.keys()


def test_removed_event_leaves_no_text_in_the_file(directory: Path) -> None:
    with closing(open_spool(directory)) as spool:
        spool.change([Event(id="1", type="t", subject=None, body=b"a canary text" * 10)], [], now=NOW)
        assert any(b"canary" in path.read_bytes() for path in directory.iterdir())
        spool.change([], ["1"], now=NOW)

        assert not any(b"canary" in path.read_bytes() for path in directory.iterdir())


def test_second_process_is_refused_with_the_reason(directory: Path) -> None:
    with closing(open_spool(directory)), pytest.raises(SpoolUnavailable, match="another process has it"):
        open_spool(directory)
    open_spool(directory).close()


def test_unusable_directory_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SpoolUnavailable, match=str(tmp_path / "file")):
        open_spool(tmp_path / "file" / "spool")


def test_damaged_event_is_quarantined_and_the_others_go_on(directory: Path) -> None:
    path = filled(directory, 30)
    offset = path.read_bytes().index(event(17).body)
    damage(path, offset + 3, b"\xff")
    with closing(open_spool(directory)) as spool, capture_logs() as lines:
        found = ids(spool)

        assert found == [f"id-{n}" for n in range(30) if n != 17]
        assert (spool.contents.events, spool.contents.damaged) == (29, 1)
        assert [line["event"] for line in lines] == ["spool.damaged"]
        spool.change(events(17), [], now=NOW)
        assert ids(spool)[-1] == "id-17"
        spool.change([], ids(spool), now=NOW)
        assert spool.contents.events == 0


def test_damaged_event_that_is_added_again_before_it_was_read_is_stored_again(directory: Path) -> None:
    path = filled(directory, 3)
    damage(path, path.read_bytes().index(event(1).body) + 3, b"\xff")
    with closing(open_spool(directory)) as spool:
        spool.change(events(1), [], now=NOW)

        assert ids(spool) == ["id-0", "id-2", "id-1"]
        assert (spool.contents.events, spool.contents.damaged) == (3, 1)


def zero_page_of_event_50(path: Path) -> None:
    damage(path, path.read_bytes().index(event(50).body) // 4096 * 4096, bytes(4096))


def cut_short(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size * 2 // 3)


def lose_first_page(path: Path) -> None:
    damage(path, 0, b"\xff" * 4096)


def become_something_else(path: Path) -> None:
    path.write_bytes(b"not a database\n" * 1000)


def quarantined(directory: Path) -> Path:
    """Return the quarantined file."""
    (path,) = directory.glob("damaged-*.sqlite3")
    return path


@pytest.mark.parametrize(
    ("spoil", "least", "most"),
    [
        (zero_page_of_event_50, 80, 99),
        (cut_short, 30, 99),
        (lose_first_page, 100, 100),
        (become_something_else, 0, 0),
    ],
)
def test_damaged_file_is_quarantined_with_all_that_can_be_read_and_the_spool_goes_on(
    directory: Path, spoil: Callable[[Path], None], least: int, most: int
) -> None:
    path = filled(directory, 100)
    spoil(path)
    spoilt = path.read_bytes()
    with capture_logs() as lines, closing(open_spool(directory)) as spool:
        spool.change(events(1000), [], now=NOW)
        kept = ids(spool)
        damaged = spool.contents.damaged
    aside = quarantined(directory)
    found = list(read_damaged(aside))
    read = [one for one in found if one is not None]
    (line,) = [line for line in lines if line["event"] == "spool.quarantined"]

    assert (kept, damaged) == (["id-1000"], 1)
    assert (line["log_level"], line["moved_to"]) == ("error", str(aside))
    assert f"bridge spool recover {aside}" in line["hint"]
    assert least <= len(read) <= most
    assert read == [event(number) for number in range(100) if event(number) in read]
    assert len(found) == (100 if least else 1)
    assert aside.read_bytes() == spoilt


def test_quarantined_file_is_counted_and_reported_at_each_start_until_it_is_recovered(
    directory: Path,
) -> None:
    file = directory / "damaged-2026-01-31T09-30-00Z.sqlite3"
    filled(directory, 1).rename(file)
    with capture_logs() as lines, closing(open_spool(directory)) as spool:
        before = spool.contents.quarantined
        file.rename(f"{file}.recovered")
        spool.probe()
        after = spool.contents.quarantined

    assert (before, after) == (1, 0)
    assert [line["event"] for line in lines] == ["spool.not_recovered"]
    assert f"bridge spool recover {file}" in str(lines[0]["hint"])


def test_rename_that_a_crash_interrupted_is_completed(directory: Path) -> None:
    file = filled(directory, 3)
    to = directory / "new.sqlite3"
    to.hardlink_to(file)
    rename(file, to)

    assert (file.exists(), [one.id for one in read_damaged(to) if one]) == (False, ["id-0", "id-1", "id-2"])


def test_recovery_without_space_for_its_copy_is_an_error_and_not_damage(directory: Path) -> None:
    """In a process whose directory for temporary files is a disk with hardly more space than the file needs."""
    file = filled(directory, 300)
    program = (
        f"mount -t tmpfs -o size={file.stat().st_size + 8192} none /mnt && TMPDIR=/mnt exec {sys.executable} -c "
        f"'from tests.contract.test_spool import *; print(len(list(read_damaged(Path(\"{file}\")))))'"
    )
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no separate disk: {done.stderr.strip()}")

    assert (done.returncode, done.stdout) == (1, "")
    assert "is there space for a copy" in done.stderr
    assert len([one for one in read_damaged(file) if one]) == 300


def test_second_damaged_file_does_not_take_the_name_of_the_first(directory: Path) -> None:
    for content in (b"one", b"two"):
        filled(directory, 1).write_bytes(content * 1000)
        open_spool(directory).close()

    assert {path.read_bytes()[:3] for path in directory.glob("damaged-*.sqlite3")} == {b"one", b"two"}


def test_log_of_a_damaged_file_is_quarantined_with_it_and_read(directory: Path) -> None:
    with killed(directory, 20):
        (directory / "events.sqlite3").write_bytes(b"\xff" * 4096)
    with closing(open_spool(directory)) as spool:
        kept = ids(spool)
    read = [one for found in directory.glob("damaged-*.sqlite3") for one in read_damaged(found)]

    assert {f"id-{n}" for n in range(20)} == {*kept, *(one.id for one in read if one is not None)}


@contextmanager
def killed(directory: Path, number: int) -> Iterator[Path]:
    """Store that many events, one at a time, kill the process, and yield the remaining log."""
    program = (
        "import os, sys; from pathlib import Path; from bridge.adapters.spool import open_spool;"
        "from tests.contract.test_spool import event; spool = open_spool(Path(sys.argv[1]));"
        "[spool.change([event(n)], [], now=1.0) for n in range(int(sys.argv[2]))]; os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, directory, str(number)], timeout=30, check=False)
    yield directory / "events.sqlite3-wal"


def test_truncated_end_of_the_log_is_skipped_and_counted(directory: Path) -> None:
    with killed(directory, 20) as log:
        size = log.stat().st_size
        with log.open("r+b") as file:
            file.truncate(size - 1000)
    with capture_logs() as lines, closing(open_spool(directory)) as spool:
        assert ids(spool) == [f"id-{n}" for n in range(19)]
        assert spool.contents.damaged == 1
        assert [line["event"] for line in lines] == ["spool.truncated"]


def test_log_damaged_in_the_middle_is_counted(directory: Path) -> None:
    with killed(directory, 20) as log:
        damage(log, log.stat().st_size // 2, b"\xff" * 64)
    with closing(open_spool(directory)) as spool:
        assert 0 < len(ids(spool)) < 20
        assert spool.contents.damaged == 1


def test_reader_that_locks_the_database_causes_one_refusal(directory: Path) -> None:
    with closing(open_spool(directory)) as spool:
        with closing(sqlite3.connect(directory / "events.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(SpoolUnavailable, match="locked"):
                spool.change(events(1), [], now=NOW)
        spool.change(events(2), [], now=NOW)

        assert ids(spool) == ["id-2"]


# --- the directory is removed while it is open ----------------------------------------------------------------


def removed(directory: Path) -> None:
    shutil.rmtree(directory)


def renamed(directory: Path) -> None:
    directory.rename(directory.with_name("elsewhere"))


def emptied(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()


def without_its_database(directory: Path) -> None:
    for path in directory.glob("events*"):
        path.unlink()


def with_another_in_its_place(directory: Path) -> None:
    """Replace it, like a volume that is mounted over it, with events of an ingest."""
    filled(directory.with_name("other"), 2)
    renamed(directory)
    directory.with_name("other").rename(directory)


@pytest.fixture(
    params=[removed, renamed, emptied, without_its_database, with_another_in_its_place],
    ids=lambda how: how.__name__,
)
def lose(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    """Return each way to lose the directory."""
    way: Callable[[Path], None] = request.param
    return way


def found_after_a_kill(directory: Path) -> set[str]:
    """Return the events that another process finds in a copy, without this process's open files."""
    with tempfile.TemporaryDirectory() as other:
        copied = shutil.copytree(directory, Path(other) / "spool")
        with closing(open_spool(copied)) as spool:
            return set(ids(spool))


def test_events_move_to_a_new_directory_when_the_old_one_is_lost(
    directory: Path, lose: Callable[[Path], None]
) -> None:
    with closing(open_spool(directory)) as spool, capture_logs() as lines:
        spool.change(events(11, 12), [], now=NOW)
        lose(directory)
        spool.change(events(13), ["id-11"], now=NOW + 1)
        found = found_after_a_kill(directory)
        others = {"id-0", "id-1"} if lose is with_another_in_its_place else set()

        assert found == {"id-12", "id-13"} | others
        assert set(ids(spool)) == found
        assert spool.contents.events == len(found)
        assert (spool.contents.oldest_at, spool.contents.damaged) == (NOW, 0)
        assert [(line["event"], line["saved"], line["lost"]) for line in lines] == [("spool.moved", 2, 0)]
        with pytest.raises(SpoolUnavailable, match="another process has it"):
            open_spool(directory)


def test_probe_and_close_move_the_events_to_a_new_directory(
    directory: Path, lose: Callable[[Path], None]
) -> None:
    with closing(open_spool(directory)) as spool:
        spool.change(events(11), [], now=NOW)
        lose(directory)
        spool.probe()
        probed = found_after_a_kill(directory)
        moved = spool.contents.moved
        shutil.rmtree(directory)

    assert "id-11" in probed
    assert moved == 1
    assert "id-11" in found_after_a_kill(directory)


def test_directory_may_be_lost_repeatedly(directory: Path) -> None:
    with closing(open_spool(directory)) as spool:
        for number in range(5):
            spool.change(events(number), [], now=NOW)
            shutil.rmtree(directory)
        spool.change([], ["id-0"], now=NOW)

        assert found_after_a_kill(directory) == {"id-1", "id-2", "id-3", "id-4"}
        assert spool.contents.moved == 5


def test_spool_without_its_log_continues_with_all_events(directory: Path) -> None:
    with closing(open_spool(directory)) as spool:
        spool.change(events(1), [], now=NOW)
        (directory / "events.sqlite3-wal").unlink()
        spool.change(events(2), [], now=NOW)

        assert found_after_a_kill(directory) == {"id-1", "id-2"}
        assert spool.contents.moved == 0


def test_events_stay_while_the_new_directory_is_unusable(directory: Path) -> None:
    with closing(open_spool(directory)) as spool:
        spool.change(events(1), [], now=NOW)
        shutil.rmtree(directory)
        with closing(open_spool(directory)) as other:
            with pytest.raises(SpoolUnavailable, match="another process has it"):
                spool.change(events(2), [], now=NOW)
            with pytest.raises(SpoolUnavailable, match="another process has it"):
                spool.probe()
            other.change(events(3), [], now=NOW)
            readable = ids(spool)
        shutil.rmtree(directory)
        directory.touch()
        with pytest.raises(SpoolUnavailable, match=str(directory)):
            spool.probe()
        directory.unlink()
        spool.change(events(4), [], now=NOW)

        assert readable == ["id-1"]
        assert found_after_a_kill(directory) == {"id-1", "id-4"}


def test_full_disk_at_the_new_path_loses_nothing(directory: Path) -> None:
    with closing(open_spool(directory)) as spool:
        kept = [f"id-{number}" for number in range(50)]
        spool.change([event(number, 5000) for number in range(50)], [], now=NOW)
        shutil.rmtree(directory)
        with no_file_beyond(100_000), pytest.raises(SpoolUnavailable):
            spool.probe()
        between = ids(spool)
        spool.probe()

        assert (between, ids(spool)) == (kept, kept)
        assert found_after_a_kill(directory) == set(kept)


@contextmanager
def no_file_beyond(bytes_: int) -> Iterator[None]:
    """Limit the size of files."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fill(spool: Spool) -> list[str]:
    """Store events until the spool is full; return the ids of the stored ones."""
    for number in range(5000):
        try:
            spool.change([event(number, 5000)], [], now=NOW)
        except SpoolUnavailable:
            return [f"id-{n}" for n in range(number)]
    raise AssertionError("there is space for everything")


def test_full_disk_loses_no_stored_event(directory: Path) -> None:
    with closing(open_spool(directory)) as spool:
        with no_file_beyond(300_000):
            kept = fill(spool)

            assert len(kept) > 20
            assert ids(spool) == kept
        spool.change(events(7000), kept[:-1], now=NOW)

        assert ids(spool) == [kept[-1], "id-7000"]
        assert spool.contents.damaged == 0


def test_spool_on_a_full_disk_opens_and_removes_published_events() -> None:
    """In a process with a separate disk of 6 MB."""
    program = (
        "mount -t tmpfs -o size=6m none /mnt && exec "
        f"{sys.executable} -c 'from tests.contract.test_spool import *; on_a_small_disk()'"
    )
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no separate disk: {done.stderr.strip()}")

    assert (done.returncode, done.stdout.split()) == (0, ["opened", "emptied", "again"]), done.stderr


def fill_the_rest() -> None:
    """Leave no space on the disk at /mnt: other programs write to it as well."""
    with suppress(OSError), Path("/mnt/others").open("ab", buffering=0) as others:
        while True:
            others.write(bytes(4096))


def on_a_small_disk() -> None:
    """Fill the disk at /mnt, open the spool again, empty it and use it again."""
    with closing(open_spool(Path("/mnt/spool"))) as spool:
        kept = fill(spool)
        assert len(kept) > 200, len(kept)
        fill_the_rest()
        assert ids(spool) == kept
    # Closing may have freed space.
    fill_the_rest()
    with closing(open_spool(Path("/mnt/spool"))) as spool:
        print("opened")
        assert ids(spool) == kept
        for start in range(0, len(kept), 50):
            spool.change([], kept[start : start + 50], now=NOW)
        assert spool.contents.events == 0
        print("emptied")
        spool.change(events(1), [], now=NOW)
        assert ids(spool) == ["id-1"]
        print("again")
