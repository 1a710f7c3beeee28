"""The wheel: an installation needs nothing of the clone, and says which version it is."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from email import message_from_string
from zipfile import ZipFile

import pytest

from bridge.cli.requirements import SERVER
from tests.wheel import ROOT, build_wheel

DEPLOY = ROOT / "deploy"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """Build the wheel of this tree."""
    return ZipFile(build_wheel(tmp_path_factory.mktemp("dist")))


def test_the_wheel_carries_what_an_installation_needs(wheel: ZipFile) -> None:
    shared = {name.partition("/share/sms-bridge/")[2] for name in wheel.namelist() if "/share/" in name}
    files = {
        str(path.relative_to(DEPLOY))
        for kind in ("systemd", "prometheus", "grafana")
        for path in (DEPLOY / kind).iterdir()
    }

    assert shared == files | {"bridge.toml", "constraints.txt"}
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_version_is_that_of_the_commit(wheel: ZipFile) -> None:
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    version = message_from_string(wheel.read(metadata).decode())["Version"]
    commit = re.search(r"\+g([0-9a-f]+)", version)

    # A tagged commit has the tag's version, and a tree without history the fallback.
    assert commit is None or head.startswith(commit[1]), version


def test_the_constraints_pin_every_dependency_that_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = {
        re.split(r"[\[<>=~ ]", one)[0]
        for one in [*project["dependencies"], *extras["server"], *extras["postgresql"], *extras["otel"]]
    } - {"sms-bridge"}
    pinned = re.findall(r"^([\w.-]+)==\S+$", (DEPLOY / "constraints.txt").read_text(), re.MULTILINE)

    assert {name.lower().replace("_", "-") for name in declared} <= {
        name.lower().replace("_", "-") for name in pinned
    }, "run scripts/write-constraints"


def test_the_command_asks_for_every_package_of_the_server() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[<>=]", one)[0].lower() for one in project["optional-dependencies"]["server"]}
    asked = {{"jwt": "pyjwt"}.get(name, name).replace("_", "-") for name in SERVER}

    assert asked == declared
