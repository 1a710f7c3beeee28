"""Rules of structure: small files, short constructors, unique names of types."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import bridge

ROOT = Path(bridge.__file__).parent
LINES = 300
PARAMETERS = 6
#: Types of the client with the names of their counterparts for other services or for asyncio.
SHARED = {"Client", "Consumer", "Event", "Outcome", "SeenEvents"}


@cache
def classes() -> list[tuple[Path, ast.ClassDef]]:
    return [
        (path, node)
        for path in sorted(ROOT.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]


def test_no_file_is_too_long() -> None:
    lengths = {path: path.read_text().count("\n") for path in ROOT.rglob("*.py")}

    assert {str(path): lines for path, lines in lengths.items() if lines > LINES} == {}


def test_no_constructor_has_too_many_parameters() -> None:
    counts = {}
    for path, node in classes():
        for member in node.body:
            if isinstance(member, ast.FunctionDef) and member.name == "__init__":
                given = member.args
                # Without `self`.
                number = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs) - 1
                counts[f"{path}: {node.name}"] = number

    assert {name: number for name, number in counts.items() if number > PARAMETERS} == {}


def test_names_of_types_are_unique() -> None:
    homes = defaultdict(set)
    for path, node in classes():
        homes[node.name].add(path)

    assert {name for name, paths in homes.items() if len(paths) > 1} == SHARED
