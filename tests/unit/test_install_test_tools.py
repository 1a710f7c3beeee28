"""scripts/install-test-tools without permission to install: it names missing tools and skipped tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "install-test-tools"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Return the directory of a machine's programs: few, no root permissions, and an apt-get that records its use."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "dirname"):
        (programs / name).symlink_to(str(shutil.which(name)))
    fakes = {"id": "echo 1000", "sudo": "exit 1", "apt-get": f"echo >{tmp_path}/used", "curl": "exit 0"}
    for name, does in fakes.items():
        (programs / name).write_text(f"#!{programs}/bash\n{does}\n")
        (programs / name).chmod(0o755)
    return programs


def install(machine: Path) -> subprocess.CompletedProcess[str]:
    directory = machine.parent / "venv" / "bin"
    directory.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [machine / "bash", SCRIPT, directory],
        env={"PATH": str(machine)}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_missing_tools_and_their_tests_are_named_without_permission_to_install(machine: Path) -> None:
    with_curl = install(machine)
    (machine / "curl").unlink()
    without = install(machine)

    assert (without.returncode, without.stdout) == (0, "")
    said = without.stderr.splitlines()
    assert said[0].startswith("Not everything that the tests need could be installed")
    assert (
        "  curl is missing, so these are skipped: some commands of the guide, an example of docs/examples"
        in said
    )
    assert "  kubectl is missing, so these are skipped: tests/unit/test_deploy_kubernetes.py" in said
    assert "curl" not in with_curl.stderr
    assert not (machine.parent / "used").exists()
