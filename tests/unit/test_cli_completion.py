"""`bridge completion`: scripts for shells, and the completions that they get."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.test_cli import BRIDGE, run


@pytest.mark.parametrize(
    ("shell", "expected"),
    [("bash", "complete -o"), ("zsh", "#compdef bridge"), ("fish", "complete --no-files")],
)
def test_each_shell_gets_its_script(shell: str, expected: str) -> None:
    result = run("completion", shell)

    assert result.exit_code == 0
    assert expected in result.stdout
    assert "_BRIDGE_COMPLETE" in result.stdout


def test_unknown_shell_is_a_usage_error() -> None:
    assert run("completion", "cmd").exit_code == 2


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_text(run("completion", "bash").stdout)
    ask = (
        'source "$1"; COMP_WORDS=(bridge ledger pr); COMP_CWORD=2; '
        '_bridge_completion bridge; echo "${COMPREPLY[@]}"; COMPREPLY=(); '
        'COMP_WORDS=(bridge worker --po); _bridge_completion bridge; echo "${COMPREPLY[@]}"'
    )
    path = f"{BRIDGE.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    confirmed = subprocess.run(
        ["bash", "-c", ask, "bash", str(script)],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert confirmed.stdout.splitlines() == ["prune", "--port"]
