"""A worker and an ingest keep to one processor core each, while they have much to do."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StartBridge
    from tests.harness.processes import BridgeProcess

pytestmark = pytest.mark.acceptance

#: Who asks at once.
ASKING = 4


@contextmanager
def kept_busy(process: BridgeProcess) -> Iterator[None]:
    """Have a process answer without a pause what takes it longest."""
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            process.admin("/metrics")

    polling = [threading.Thread(target=ask) for _ in range(ASKING)]
    for one in polling:
        one.start()
    try:
        yield
    finally:
        over.set()
        for one in polling:
            one.join()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="there is nothing to choose on this system")
@pytest.mark.parametrize("role", ["worker", "ingest"])
def test_all_threads_come_to_the_same_core_while_there_is_much_to_do(
    role: str, bridge_process: StartBridge, env: dict[str, str]
) -> None:
    process = bridge_process(role, env={**env, "BRIDGE_INGEST__PORT": "0"})
    everywhere = {frozenset(os.sched_getaffinity(0))}

    def cores() -> set[frozenset[int]]:
        threads = Path(f"/proc/{process.pid}/task").iterdir()
        return {frozenset(os.sched_getaffinity(int(thread.name))) for thread in threads}

    wait_until(lambda: cores() == everywhere, 20)
    with kept_busy(process):
        wait_until(lambda: [len(own) for own in cores()] == [1], 20)
    wait_until(lambda: cores() == everywhere, 20)
