"""The documentation site: docs/conf.py builds it from the pages of a repository, and a broken link is an error."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.missing_program import missing_program

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = "# Guide\n\n## First steps\n\nSend an SMS.\n"


def build(root: Path, readme: str, **pages: str) -> subprocess.CompletedProcess[str]:
    """Build the site of a small repository as `make docs` does."""
    if importlib.util.find_spec("sphinx") is None:
        missing_program("Sphinx", "make setup")
    (root / "docs" / "contracts").mkdir(parents=True)
    (root / "docs" / "contracts" / "command.json").write_text("{}")
    (root / "README.md").write_text(readme)
    for name, text in pages.items():
        (root / "docs" / f"{name}.md").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "-c", DOCS, root, root / "site"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_site_has_navigation_search_and_files_and_fetches_nothing_from_the_network(tmp_path: Path) -> None:
    readme = "# SMS Bridge\n\n[Steps](docs/guide.md#first-steps), [schemas](docs/contracts)\n"

    result = build(tmp_path, readme, guide=GUIDE)

    assert (result.returncode, result.stderr) == (0, "")
    front = (tmp_path / "site" / "index.html").read_text()
    assert "Use it" in front
    assert 'href="docs/guide.html#first-steps"' in front
    assert 'href="docs/contracts/index.html"' in front
    assert (tmp_path / "site" / "docs" / "contracts" / "command.json").exists()
    assert "Guide" in (tmp_path / "site" / "searchindex.js").read_text()
    assert re.findall(r"<(?:script|img|iframe|link)[^>]*(?:src|href)=\"(?:https?:)?//[^\"]*", front) == []


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("docs/missing.md", "docs/missing.md"),
        ("docs/guide.md#last-steps", "last-steps"),
        ("config/missing.toml", "config/missing.toml"),
        ("docs/missing/", "docs/missing/"),
        ("#nowhere", "nowhere"),
    ],
)
def test_broken_link_fails_the_build(tmp_path: Path, link: str, message: str) -> None:
    result = build(tmp_path, f"# SMS Bridge\n\n[There]({link})\n", guide=GUIDE)

    assert result.returncode != 0
    assert re.search(rf"README\.md:3: WARNING: .*{re.escape(message)}", result.stderr)


def test_page_missing_from_the_navigation_fails_the_build(tmp_path: Path) -> None:
    result = build(tmp_path, "# SMS Bridge\n", guide=GUIDE, stray="# Stray\n")

    assert result.returncode != 0
    assert "add it to NAVIGATION in docs/conf.py" in result.stderr
