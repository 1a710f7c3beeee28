"""The fault tables name only existing tests."""

from __future__ import annotations

import re

from tests.faults.report import DOCUMENT
from tests.faults.sabotage import ROOT


def test_every_test_that_the_documents_name_exists() -> None:
    document = DOCUMENT.read_text().partition("## Tests by fault")[2].partition("## Mutants")[0]
    tests = re.findall(r"`(?:tests/faults/)?(test_\w+\.py)::(\w+)`", document)
    files = re.findall(r"`(tests/\w+/test_\w+\.py)`", document)
    missing = [
        name for file, name in tests if f"def {name}" not in (ROOT / "tests" / "faults" / file).read_text()
    ]

    assert tests
    assert missing == []
    assert [file for file in files if not (ROOT / file).exists()] == []
