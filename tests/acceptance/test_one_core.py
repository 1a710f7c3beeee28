"""A worker keeps to one processor core."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.conftest import StartBridge

pytestmark = pytest.mark.acceptance


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="there is nothing to choose on this system")
def test_all_threads_of_a_worker_come_to_the_same_core(
    bridge_process: StartBridge, env: dict[str, str]
) -> None:
    worker = bridge_process("worker", env=env)

    def cores() -> set[frozenset[int]]:
        threads = Path(f"/proc/{worker.pid}/task").iterdir()
        return {frozenset(os.sched_getaffinity(int(thread.name))) for thread in threads}

    wait_until(lambda: [len(own) for own in cores()] == [1], 20)
