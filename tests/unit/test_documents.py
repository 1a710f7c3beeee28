"""Documents: they name every public interface, and every link leads to a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.domain import events
from bridge.domain.command_parser import FIELDS
from bridge.domain.dead_letters import DEATH_HEADERS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MESSAGES = (ROOT / "docs" / "messages.md").read_text(encoding="utf-8")
TYPES = {value for value in vars(events).values() if isinstance(value, str) and value.startswith("sms.")}


@pytest.mark.parametrize("name", sorted({*FIELDS, *TYPES, *DEATH_HEADERS}))
def test_every_field_event_and_header_has_its_place_among_the_messages(name: str) -> None:
    assert f"`{name}`" in MESSAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_has_a_target(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_readme_links_to_every_page() -> None:
    reached, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        reached.add(page)
        links = re.findall(r"\]\((?!https?:)([^)#]+\.md)", page.read_text(encoding="utf-8"))
        left += {(page.parent / link).resolve() for link in links} - reached - set(left)

    assert [page.name for page in PAGES if page not in reached] == []


def test_glossary_has_forty_terms_at_most_and_each_once() -> None:
    rows = re.findall(
        r"^\| ([^|]+) \|", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    terms = [row for row in rows if row != "term"]

    assert 0 < len(terms) == len(set(terms)) <= 40


def test_there_are_twenty_five_decisions_at_most_each_with_context_decision_and_consequences() -> None:
    text = (ROOT / "docs" / "internals" / "decisions.md").read_text(encoding="utf-8")
    decisions = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    parts = ("**Context.**", "**Decision.**", "**Consequences.**")

    assert 0 < len(decisions) <= 25
    assert [
        decision.partition("\n")[0] for decision in decisions if not all(part in decision for part in parts)
    ] == []
