"""The wheel: installations do not need the clone, and have a version."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from email import message_from_string
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest

from bridge.cli.requirements import SERVER
from tests.harness.missing_program import missing_program
from tests.harness.wheel import ROOT, build_wheel

if TYPE_CHECKING:
    from pathlib import Path

DEPLOY = ROOT / "deploy"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """Build the wheel of this tree."""
    return ZipFile(build_wheel(tmp_path_factory.mktemp("dist")))


def test_wheel_contains_all_files_of_an_installation(wheel: ZipFile) -> None:
    shared = {name.partition("/share/sms-bridge/")[2] for name in wheel.namelist() if "/share/" in name}
    files = {
        str(path.relative_to(DEPLOY))
        for kind in ("systemd", "prometheus", "grafana")
        for path in (DEPLOY / kind).iterdir()
    }

    assert shared == files | {"bridge.toml", "constraints.txt"}
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
    assert {
        f"bridge/domain/contracts/{name}.json" for name in ("asyncapi", "examples", "submit.openapi")
    } <= {*wheel.namelist()}


def git(*command: str, cwd: Path = ROOT) -> str:
    """Return the output of git; an empty string if it fails, as in a tree without history."""
    if shutil.which("git") is None:
        missing_program("git")
    author = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    done = subprocess.run(["git", *author, *command], cwd=cwd, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def test_wheel_has_the_version_of_its_commit(wheel: ZipFile) -> None:
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    version = message_from_string(wheel.read(metadata).decode())["Version"]
    head = git("rev-parse", "HEAD")
    if not head:
        assert version == "0.1.0.dev0"
    elif tag := git("describe", "--tags", "--exact-match"):
        # Uncommitted changes make it a version after the tag.
        assert version.startswith(tag.removeprefix("v")) or git("status", "--porcelain")
    else:
        commit = re.search(r"\+g([0-9a-f]+)", version)
        assert commit is not None, version
        assert head.startswith(commit[1])


def test_no_two_commits_have_one_version(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    git("init", "--quiet", cwd=tmp_path)
    git("add", ".", cwd=tmp_path)
    versions = []
    for _ in range(2):
        git("commit", "--allow-empty", "--message", "a change", cwd=tmp_path)
        versions.append(version_in(tmp_path))
    git("tag", "v0.3.0", cwd=tmp_path)
    tagged = version_in(tmp_path)
    git("commit", "--allow-empty", "--message", "a change", cwd=tmp_path)
    versions.append(version_in(tmp_path))
    heads = git("rev-list", "--reverse", "HEAD", cwd=tmp_path).split()

    assert tagged == "0.3.0"
    for head, version in zip(heads, versions, strict=True):
        assert "+g" in version
        assert head.startswith(version.partition("+g")[2].partition(".")[0]), version
    assert len({*versions, tagged}) == 4


def version_in(directory: Path) -> str:
    """Return the version of a build of the project in `directory`."""
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "version"],
        cwd=directory, capture_output=True, text=True, check=True, timeout=60,
    ).stdout.strip()  # fmt: skip


def test_constraints_pin_every_dependency_that_is_declared() -> None:
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


def test_command_checks_for_every_package_of_the_server() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[<>=]", one)[0].lower() for one in project["optional-dependencies"]["server"]}
    asked = {{"jwt": "pyjwt"}.get(name, name).replace("_", "-") for name in SERVER}

    assert asked == declared
