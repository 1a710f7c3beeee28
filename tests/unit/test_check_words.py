"""scripts/check-words: words that are banned are found where they stand, and in no quotation and no code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "check-words"
#: No directory that the script has on its list of those to do.
CLEAN = "bridge/clean/example.py"


def check(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, "--root", root, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def lookup_results(root: Path, path: str, text: str) -> list[str]:
    """Return what the script finds in one file, without its path and without the terms to use."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    result = check(root)
    lines = result.stdout.splitlines()

    assert result.returncode == (1 if lines else 0), result.stderr
    assert all(line.startswith(f"{path}:") for line in lines)
    return [":".join(line.removeprefix(f"{path}:").split(":")[:2]) for line in lines]


def test_banned_word_fails_with_its_position_and_the_term_to_use(tmp_path: Path) -> None:
    file = tmp_path / CLEAN
    file.parent.mkdir(parents=True)
    file.write_text('"""A circuit breaker."""\n\n# The gate is closed.\n')

    result = check(tmp_path)

    assert result.returncode == 1
    assert result.stdout == f"{CLEAN}:3: gate: circuit breaker\n"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""A worker.\n\nNobody reads it."""', ["3: nobody"]),
        ("x = 1  # asks whoever is there", ["1: whoever"]),
        ("# a thread of\n# its own", ["1: of its own"]),
        ('raise ValueError(f"the url is none: {x}")', ["1: is none"]),
        ('log.warning("seat.lost", hint="somebody removed it")', ["1: somebody", "1: seat.lost (seat)"]),
        ("class Desk: ...", ["1: Desk (desk)"]),
        ("def wait(patience): ...", ["1: patience"]),
        ("def f(self):\n    self.has_room = 1", ["2: has_room (room)"]),
        ("state = 'gate'", ["1: gate"]),
        ("gateway = navigate = 1", []),
        ("y.tell()  # a file's method", []),
        ("def test_a_worker_needs_a_place(): ...", []),
        ("def test_an_event_is_told_once(): ...", ["1: test_an_event_is_told_once (told)"]),
        ("def test_what_comes_late_is_dropped(): ...", ["1: test_what_comes_late_is_dropped (what)"]),
    ],
)
def test_python_is_read_for_names_docstrings_comments_and_texts(
    tmp_path: Path, source: str, found: list[str]
) -> None:
    assert sorted(lookup_results(tmp_path, CLEAN, source)) == sorted(found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("What came is kept.", ["1: What"]),
        ("Events are kept.\nWhoever asks gets them.", ["2: Whoever", "2: whoever"]),
        ("What is a lease?", []),
        ("It depends on what came.", []),
        ("- Who reads: the operator.", ["1: Who"]),
        ("| state | what to do |\n|---|---|\n| open | Who knows. |", ["3: Who"]),
        ("## Whose it is", ["1: Whose"]),
    ],
)
def test_sentences_begin_with_a_subject(tmp_path: Path, text: str, found: list[str]) -> None:
    assert sorted(lookup_results(tmp_path, "docs/example.md", text)) == sorted(found)


@pytest.mark.parametrize(
    "text",
    [
        "The log says `nobody` and ``told``.",
        'The provider says "nobody was told" then.',
        "```console\n$ echo whatever\n```",
        "See [the page](whatever.md).",
        "<!-- meanwhile -->",
        "    whatever = 1",
    ],
)
def test_code_quotations_and_targets_of_links_are_left_out(tmp_path: Path, text: str) -> None:
    assert lookup_results(tmp_path, "docs/example.md", text) == []


def test_texts_of_other_files_are_read(tmp_path: Path) -> None:
    assert lookup_results(tmp_path, "examples/Makefile", "x:\n\ty\n") == []
    assert lookup_results(
        tmp_path, "bridge/clean/api.json", '{"title": "x",\n "description": "A command is told."}'
    ) == ["2: told"]


@pytest.mark.parametrize(
    "glossary",
    [
        "| term | meaning |\n|---|---|\n| claim | A note. |\n| lease, claim | A time. |",
        "- **claim**: A note.\n\n- **lease**: A time.\n- **Claim**: A note.",
    ],
)
def test_term_is_defined_once(tmp_path: Path, glossary: str) -> None:
    assert lookup_results(tmp_path, "docs/example/glossary.md", glossary) == ["4: claim"]


def test_module_is_named_with_a_noun(tmp_path: Path) -> None:
    assert lookup_results(tmp_path, "bridge/clean/noting.py", "") == ["1: noting"]
    (tmp_path / "bridge/clean/noting.py").unlink()
    assert lookup_results(tmp_path, "bridge/clean/tracing.py", "") == []


def test_words_are_counted_for_each_directory(tmp_path: Path) -> None:
    file = tmp_path / CLEAN
    file.parent.mkdir(parents=True)
    file.write_text('"""Nobody is told."""\n# What is left.\n# One two three four.\n')

    lines = {line.split()[0]: line.split()[1:] for line in check(tmp_path, "--count").stdout.splitlines()[1:]}

    assert lines["bridge/clean"] == ["10", "100.0", "(1)", "100.0", "(1)", "100.0", "(1)"]


def test_exception_counts_for_its_path_and_sense_alone(tmp_path: Path) -> None:
    assert lookup_results(tmp_path, "bridge/clean/a.py", "place = 1") == []
    (tmp_path / "bridge/clean/a.py").unlink()
    assert lookup_results(tmp_path, "bridge/clean/a.py", "room = __slots__ = 1") == ["1: room"]
