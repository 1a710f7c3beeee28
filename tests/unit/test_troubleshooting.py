"""The pages for operators name only what exists: commands, settings, metrics, log events, sections."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from bridge.cli import main
from bridge.settings.model import KEYS
from tests.unit.test_documents import TYPES

ROOT = Path(__file__).parents[2]
PAGES = {
    name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    for name in (
        "install",
        "configure",
        "operations",
        "upgrade",
        "security",
        "cluster",
        "metrics",
        "troubleshooting",
    )
}
#: Names of the files of `deploy` and of the operating system.
FILES = {
    "network.yaml",
    "kustomization.yaml",
    "cluster.yaml",
    "compose.yaml",
    "bridge.toml",
    "rabbitmq.conf",
    "advanced.config",
    "postgresql.conf",
    "pg_hba.conf",
}
CODE = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "bridge").rglob("*.py"))
SETTINGS = {f"{section}.{key}" for section, keys in KEYS.items() for key in keys}
QUEUES = {
    "amq.default",
    "sms.ledger",
    "sms.events",
    "sms.unrouted",
    "sms.dead",
    "sms.given_up",
    "sms.send",
    "sms.commands",
}


def quoted(page: str, pattern: str) -> list[str]:
    """Return each inline code that matches `pattern`, without code blocks."""
    prose = re.sub(r"^ *```.*?^ *```$", "", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    return sorted({name for name in re.findall(r"`([^`]+)`", prose) if re.fullmatch(pattern, name)})


@pytest.mark.parametrize("page", PAGES)
def test_each_command_exists(page: str) -> None:
    blocks = re.findall(r"^ *```(?:sh|console)$(.*?)^ *```$", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    in_blocks = re.findall(
        r"^ *(?:\$ |.* exec \S+ |.* -- |\S*/bin/)?(bridge [a-z].*)$", "\n".join(blocks), re.MULTILINE
    )

    for line in [*quoted(page, r"bridge [a-z].*"), *in_blocks]:
        command: click.Command = main
        for word in line.split()[1:]:
            if isinstance(command, click.Group) and word in command.commands:
                command = command.commands[word]
            elif word.startswith("--"):
                assert word in {name for option in command.params for name in option.opts}, line
        assert command is not main, line


@pytest.mark.parametrize("page", PAGES)
def test_each_setting_and_each_log_event_exists(page: str) -> None:
    names = quoted(page, r"[a-z_]+\.[a-z_]+( = .*)?")
    unknown = [
        name for name in names
        if (bare := name.partition(" ")[0]) not in SETTINGS | QUEUES | TYPES
        and f'"{bare}"' not in CODE
        and bare not in {"error.message", *FILES}
    ]  # fmt: skip

    assert names
    assert unknown == []


@pytest.mark.parametrize("page", PAGES)
def test_each_metric_exists(page: str) -> None:
    names = {name.partition("{")[0] for name in quoted(page, r"sms_bridge_\w+(\{.*\})?")}
    metrics = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")

    assert [name for name in names if name not in metrics] == []


@pytest.mark.parametrize("page", PAGES)
def test_each_linked_section_exists(page: str) -> None:
    for target, part in re.findall(r"\]\(([\w/-]+)?(?:\.md)?#([\w-]+)\)", PAGES[page]):
        text = (ROOT / "docs" / f"{target or page}.md").read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)

        assert part in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_page_and_section_named_in_the_code_exists() -> None:
    named = {
        *re.findall(r"\b(docs/[\w/-]+\.md)(?:, ([A-Z][\w -]+))?", CODE),
        *((page, section) for section, page in re.findall(r"see ([A-Z][\w ]+) in (docs/[\w/-]+\.md)", CODE)),
    }

    assert len(named) > 10
    for page, section in named:
        headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)

        assert not section or section in headings, (page, section)
