"""The history lies: it shows texts otherwise than they were sent, and messages of others. No SMS may go out twice."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from bridge.domain.events import TERMINAL
from tests.unit.altered_texts import KNOWN, UNKNOWN
from tests.unit.simulated import Client

if TYPE_CHECKING:
    from tests.faults.conftest import MakeScenario
    from tests.faults.scenario import Scenario

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

#: Leaves a submission in doubt without a sign that the provider is down, so the others are sent at once.
IN_DOUBT = {"status": 409}
#: Texts to one number at once, and how many of them the provider does not take at their first attempt.
AT_ONCE, DROPPED = 20, 5


def _number(place: int) -> str:
    return f"+1613556{place:04}"


def _send_altered(scenario: Scenario) -> dict[str, str]:
    """Send a text of each kind, each to a different number, its answer lost; return the alterations by command."""
    sent = {}
    for place, (name, text) in enumerate((KNOWN | UNKNOWN).items()):
        fault = {"name": "accept-drop", "alter": name}
        [id_] = scenario.send(fault=fault, more=f" {text}", destination_address=_number(place))
        # So that the provider does not seem to be down.
        scenario.send(2)
        sent[id_] = name
    scenario.fired["altered texts"] += len(sent)
    return sent


def _send_at_once(scenario: Scenario, place: int, alteration: str | None) -> None:
    """Send different texts to one number, none of which is answered well, and some are not taken."""
    more = f" {KNOWN[alteration]}" if alteration else ""
    for number in range(AT_ONCE):
        fault = {**IN_DOUBT, "name": "status"}
        if number >= DROPPED:
            fault = {**IN_DOUBT, "name": "accept-status", "alter": alteration}
        scenario.send(fault=fault, more=more, destination_address=_number(place))
    scenario.fired["lost answers"] += AT_ONCE


def _outcomes(scenario: Scenario, id_: str) -> list[tuple[str, bool]]:
    """Return the outcomes of a command, and whether each is known from the history alone."""
    return [
        (event.routing_key.rpartition(".")[2], bool(event.json["data"].get("reconciled")))
        for event in scenario.events_of(id_)
        if event.routing_key in TERMINAL
    ]


@pytest.mark.parametrize(
    "alterations",
    [
        pytest.param([None, "no-break-spaces", "cut", "gsm"], id="small"),
        pytest.param([None, *KNOWN], marks=pytest.mark.long, id="whole"),
    ],
)
def test_altered_text_is_recognized_or_unknown_and_never_sent_twice(
    make_scenario: MakeScenario,
    ledger: str | None,
    alterations: list[str | None],
    request: pytest.FixtureRequest,
) -> None:
    size = request.node.callspec.id.rpartition("-")[2]
    name = f"History, altered texts, {size}"
    # An account that keeps so many messages and no more would be too full to prove anything.
    with make_scenario(name, seed=131, ledger=ledger, RECONCILE__HISTORY_CAP="0") as scenario:
        scenario.start()
        altered = _send_altered(scenario)
        for place, alteration in enumerate(alterations):
            _send_at_once(scenario, 100 + place, alteration)
        verdict = scenario.kept(within=90)

        assert Counter(scenario.provider.texts()) == dict.fromkeys(scenario.commands.values(), 1)
        known = {id_: _outcomes(scenario, id_) for id_, name in altered.items() if name in KNOWN}
        assert known == {id_: [("sent", True)] for id_ in known}
        assert verdict.outcomes == {"sent": len(scenario.commands) - len(UNKNOWN), "unknown": len(UNKNOWN)}


def test_nothing_is_resent_without_proof_when_the_history_has_another_senders_message(
    make_scenario: MakeScenario, ledger: str | None
) -> None:
    with make_scenario("History, messages of others", seed=132, ledger=ledger) as scenario:
        scenario.start()
        lost, dropped, of_its_own = _number(1), _number(2), _number(3)
        with Client(scenario.provider.url) as unknown_client:
            for number in (lost, dropped):
                text = f"You have won a cruise, {number}"
                scenario.unknown_clients.add(text)
                assert unknown_client.send(text, to=number).ok
        scenario.fired["messages of others"] = 2
        [sent] = scenario.send(fault={**IN_DOUBT, "name": "accept-status"}, destination_address=lost)
        [unknown] = scenario.send(fault={**IN_DOUBT, "name": "status"}, destination_address=dropped)
        [again] = scenario.send(fault={**IN_DOUBT, "name": "status"}, destination_address=of_its_own)
        scenario.kept(within=60)

        assert _outcomes(scenario, sent) == [("sent", True)]
        assert _outcomes(scenario, unknown) == [("unknown", False)]
        assert _outcomes(scenario, again) == [("sent", False)]
