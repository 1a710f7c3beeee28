"""The contract as it is checked in: the papers in docs/contracts, and what each version has promised.

    python -m tests.harness.contract_documents

writes the papers anew, and the promises of a version that has none yet. Those of a version that is there are never
written again: what changes what is promised takes a new version.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.app.contract import contract_files
from bridge.domain.contracts.documents import VERSION, schemas
from bridge.domain.contracts.shapes import Spelling
from bridge.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
DOCUMENTS = ROOT / "docs" / "contracts"
#: The variant of the papers for events whose keys are in camelCase.
CAMEL_CASE = "camel-case"
#: Those of a bridge that was given none.
NAMES = Settings().broker.names
PROMISES = ROOT / "tests" / "promises"

#: Keywords of a schema that promise nothing.
_SAID = frozenset({"description", "title", "examples", "format"})


def expected_documents() -> Mapping[Path, str]:
    """Return the text of each file as it has to be, for a bridge with the default names."""
    snake = {DOCUMENTS / path: text for path, text in contract_files(NAMES, camel_case=False).items()}
    camel = {
        DOCUMENTS / CAMEL_CASE / path: text for path, text in contract_files(NAMES, camel_case=True).items()
    }
    return {**snake, **camel}


def promised() -> dict[str, Any]:
    """Return what the contract promises now: its schemas, without what only explains them."""
    return {name: _bare(schema) for name, schema in schemas(Spelling()).items()}


def promises() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each version and what it promised, the oldest first."""
    paths = sorted(PROMISES.glob("*.json"), key=lambda path: [int(part) for part in path.stem.split(".")])
    for path in paths:
        yield path.stem, json.loads(path.read_text(encoding="utf-8"))


def _bare(schema: object, *, names: bool = False) -> object:
    """Leave out what only explains; `names` says that the keys of an object are names and no keywords."""
    if isinstance(schema, list):
        return [_bare(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _bare(value, names=not names and key in {"properties", "$defs"})
        for key, value in schema.items()
        if names or key not in _SAID
    }


def _write() -> None:
    for path, text in expected_documents().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    path = PROMISES / f"{VERSION}.json"
    if not path.exists():
        PROMISES.mkdir(exist_ok=True)
        path.write_text(json.dumps(promised(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _write()
