"""A worker and an ingest keep to one processor core each."""

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
@pytest.mark.parametrize("role", ["worker", "ingest"])
def test_all_threads_come_to_the_same_core(
    role: str, bridge_process: StartBridge, env: dict[str, str]
) -> None:
    process = bridge_process(role, env={**env, "BRIDGE_INGEST__PORT": "0"})

    def cores() -> set[frozenset[int]]:
        threads = Path(f"/proc/{process.pid}/task").iterdir()
        return {frozenset(os.sched_getaffinity(int(thread.name))) for thread in threads}

    wait_until(lambda: [len(own) for own in cores()] == [1], 20)
