"""A busy process is kept on one core, and an idle one runs where it likes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

#: A process with a thread that works until it is told to rest; prints on how many cores it may run, busy and idle.
PROGRAM = """
import os, threading, time
from bridge.ops.one_core import OneCore

def cores(wanted, seconds=20):
    until = time.monotonic() + seconds
    while time.monotonic() < until and (len(os.sched_getaffinity(thread.native_id)) == 1) is not wanted:
        time.sleep(0.05)
    return len(os.sched_getaffinity(thread.native_id))

def work():
    while True:
        if not busy.is_set():
            busy.wait()
        sum(range(1000))

busy = threading.Event()
thread = threading.Thread(target=work, daemon=True)
thread.start()
one_core = OneCore(lambda: thread.native_id)
one_core.start()
before = len(os.sched_getaffinity(0))
busy.set()
while_busy = cores(True)
busy.clear()
idle = cores(False)
busy.set()
again = cores(True)
one_core.stop()
print(before > 1, while_busy, idle == before, again, len(os.sched_getaffinity(thread.native_id)) == before)
"""


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="there is no choice"
)
def test_a_process_is_on_one_core_while_it_is_busy_and_is_let_go_at_the_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.split() == ["True", "1", "True", "1", "True"], done.stderr
