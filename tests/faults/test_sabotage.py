"""The mutants follow the code: each has its one place, and a test that exists."""

from __future__ import annotations

import re

import pytest

from tests.faults.sabotage import MUTANTS, ROOT, Mutant, broken


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_has_its_position_and_its_test(mutant: Mutant) -> None:
    source = (ROOT / mutant.file).read_text()
    path, _, test = mutant.caught_by.partition("::")
    name = re.sub(r"\[.*", "", test)

    assert broken(mutant, source) != source
    assert f"def {name}" in (ROOT / path).read_text()
