"""Results of `bridge doctor` for the directories of ledger and spool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.app.doctor_records import check_disk_space
from bridge.settings import load

if TYPE_CHECKING:
    from pathlib import Path


def test_world_writable_directory_is_a_warning(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    settings = load({"ledger": {"url": f"sqlite:///{place}/ledger.db"}}, {}, lambda _: "")
    place.chmod(0o755)
    before = [check_result.seen for check_result in check_disk_space(settings)]
    place.chmod(0o777)
    after = [(check_result.seen, check_result.advice) for check_result in check_disk_space(settings)]

    assert len(before) == 1
    assert after[1] == (
        "every user of this machine can write to the directory of the ledger, and replace its files",
        f"chmod o-w {place}",
    )
