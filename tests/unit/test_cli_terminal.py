"""Progress of long commands: shown at a terminal and not to programs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.store import open_ledger
from bridge.simulator import Simulator
from tests.harness.processes import clean_environment
from tests.unit.simulated import NUMBER, REMOTE, Client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BRIDGE = Path(sys.executable).with_name("bridge")
STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return the configuration of an account with a message that no webhook delivered, and of a ledger."""
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    open_ledger(ledger).close()
    with Simulator() as simulator, Client(simulator.url) as client:
        client.control("inbound", {"from": REMOTE, "to": NUMBER, "message": "canary"})
        yield {
            "BRIDGE_CPAAS__BASE_URL": simulator.url,
            "BRIDGE_CPAAS__CLIENT_ID": "project",
            "BRIDGE_CPAAS__CLIENT_SECRET": "s",
            "BRIDGE_LEDGER__URL": ledger,
            "BRIDGE_LOG__LEVEL": "error",
            "TERM": "xterm-256color",
            "COLUMNS": "100",
        }


def seen(*arguments: str, env: Mapping[str, str], on: str) -> tuple[str, str]:
    """Run `bridge` with stdout or stderr on a terminal; return its text, and the output of the other stream."""
    ours, theirs = os.openpty()
    other = "stderr" if on == "stdout" else "stdout"
    child = subprocess.Popen(
        [BRIDGE, *arguments],
        env=clean_environment(env),
        stdin=subprocess.DEVNULL,
        **{on: theirs, other: subprocess.PIPE},  # type: ignore[call-overload]
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:
        # Linux reports this when the other end is closed.
        pass
    finally:
        os.close(ours)
    out, err = child.communicate(timeout=30)
    return STYLES.sub("", shown.decode()), (out or err or b"").decode()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("catch-up", "--since", "1h", "--dry-run", "--json"), "threads"),
        (("ledger", "migrate", "--json"), "migrating"),
    ],
)
def test_progress_is_shown_at_a_terminal_and_programs_get_the_document(
    env: dict[str, str], arguments: tuple[str, ...], what: str
) -> None:
    shown, document = seen(*arguments, env=env, on="stderr")

    assert what in shown
    assert isinstance(json.loads(document), dict)


def test_no_progress_is_shown_without_a_terminal(env: dict[str, str]) -> None:
    done = subprocess.run(
        [BRIDGE, "catch-up", "--since", "1h", "--dry-run"],
        env=clean_environment(env),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert done.stdout == "1 messages would be recovered; 1 threads read\n"
    assert done.stderr == ""
