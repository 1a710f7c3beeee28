"""Alterations of texts in the simulator's history."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from bridge.simulator import Simulator
from bridge.simulator.alterations import ALTERATIONS, alter
from tests.harness.waiting import wait_until
from tests.unit.altered_texts import KNOWN
from tests.unit.simulated import NUMBER, REMOTE, Client

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = Path(__file__).parents[2] / "docs" / "simulator.md"


@pytest.fixture
def client() -> Iterator[Client]:
    with Simulator() as simulator, Client(simulator.url) as client:
        yield client


def shown(client: Client) -> list[str]:
    listed = client.read(f"/{REMOTE}/localAddresses/{NUMBER}/messages").json()["smsMessageList"]["smsMessage"]
    return [message["message"] for message in listed]


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_text_is_altered_in_the_history_and_original_in_the_journal(client: Client, name: str) -> None:
    client.control("faults", [{"name": "accept-500", "alter": name}])
    client.send(KNOWN[name])
    client.send("the next one")

    assert sorted(shown(client)) == sorted([alter(KNOWN[name], name), "the next one"])
    assert [sent["message"] for sent in client.journal()] == [KNOWN[name], "the next one"]


def test_text_that_is_accepted_late_is_altered_too(client: Client) -> None:
    client.control("faults", [{"name": "accept-late", "seconds": 0.01, "alter": "hidden"}])
    with pytest.raises(requests.ConnectionError):
        client.send("hi")
    wait_until(client.journal, what="the late message")

    assert shown(client) == ["[hidden]"]


def test_all_texts_are_altered_as_the_settings_say(client: Client) -> None:
    client.control("settings", {"alter": "quotes"})
    client.send("\u201cone\u201d")
    client.control("settings", {"alter": None})
    client.send("\u201ctwo\u201d")

    assert sorted(shown(client)) == ['"one"', "\u201ctwo\u201d"]


@pytest.mark.parametrize(
    ("endpoint", "document"),
    [
        ("faults", [{"name": "accept-drop", "alter": "upside-down"}]),
        ("faults", [{"name": "drop", "alter": "quotes"}]),
        ("settings", {"alter": "upside-down"}),
    ],
)
def test_unknown_alteration_is_refused(client: Client, endpoint: str, document: object) -> None:
    with pytest.raises(AssertionError, match="alter"):
        client.control(endpoint, document)


def test_page_names_each_alteration() -> None:
    document = DOCUMENT.read_text()

    assert [name for name in ALTERATIONS if f"`{name}`" not in document] == []
