"""The wheel of this tree, and an environment into which it was installed without any extra. Nothing is fetched."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def build_wheel(directory: Path) -> Path:
    """Build the wheel with the tools of this environment; return its path."""
    _run(
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        str(directory),
        cwd=ROOT,
    )
    (path,) = directory.glob("*.whl")
    return path


def install_alone(wheel: Path, directory: Path) -> Path:
    """Make an environment with a wheel and what it requires without extras, from here; return its Python."""
    venv.EnvBuilder(with_pip=False).create(directory)
    python = directory / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python))
    _run(*pip, "install", "--quiet", "--no-index", "--no-deps", str(wheel))
    (packages,) = directory.glob("lib/python*/site-packages")
    (metadata,) = packages.glob("sms_bridge-*.dist-info")
    for name in _required_by(Distribution.at(metadata), set()):
        _copy(distribution(name), packages)
    return python


def _required_by(installed: Distribution, known: set[str]) -> set[str]:
    """Return what a distribution requires, and what that requires, as packaging's standard reads it."""
    for text in installed.requires or []:
        requirement = Requirement(text)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and requirement.name not in known:
            known.add(requirement.name)
            _required_by(distribution(requirement.name), known)
    return known


def _copy(installed: Distribution, packages: Path) -> None:
    for file in installed.files or []:
        if ".." not in file.parts:
            target = packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(installed.locate_file(file)), target)


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
