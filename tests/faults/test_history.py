"""The provider's history as the only witness: down, late, too late, and short of what was dropped: P5, P6 in full."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from bridge.domain.events import TERMINAL
from bridge.domain.rules import ReconcileRules
from tests.faults.report import DOCUMENT
from tests.faults.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.conftest import MakeScenario
    from tests.faults.scenario import Scenario

#: Messages that a trial account keeps.
HISTORY_CAP = ReconcileRules().history_cap

pytestmark = [pytest.mark.broker, pytest.mark.acceptance, pytest.mark.long]

#: All that are alike go to this number.
ALIKE = "+16135550001"
ELSEWHERE = "+16135550002"
#: Calls that the provider accepts and calls that it does not, all without a response.
TAKEN = ("accept-drop", "accept-500", "accept-truncate")
LEFT = ("drop", "reset", "hang")
#: How what the provider takes may show too late.
LATE = ("accepted late", "shown late")
#: Seconds until it accepts a call, when the settle window is over; and until it shows anything at all.
TOO_LATE = 20.0
NEVER = 3600.0


def _send_alike(scenario: Scenario, number: int = 1) -> list[str]:
    """Send so many of one text to one number."""
    return scenario.send(number, message="canary <alike>", destination_address=ALIKE)


def _in_doubt(scenario: Scenario, faults: Sequence[str]) -> list[str]:
    """Send one command for each fault, the next when the one before has met its own, and the history down."""
    scenario.provider.settings(failing={"history": {"name": "status", "status": 500}})
    ids = []
    for name in faults:
        scenario.provider.faults({"name": name, "text": "<alike>"})
        ids += _send_alike(scenario)
        scenario.wait(lambda: scenario.provider.stats()["faults_waiting"] == 0, what=name)
    scenario.wait(lambda: scenario.rows("state = 'in_doubt'") == len(faults), what="doubts")
    scenario.fired["faulty answers"] = len(faults)
    scenario.fired["history down"] = 1
    return ids


def _fill(scenario: Scenario, number: int, *, sender: str) -> None:
    """Have so many messages come in, which the account keeps in the place of older ones."""
    for _ in range(number):
        scenario.provider.post("inbound", {"from": sender, "message": "hello"})
    scenario.fired["messages after it"] = number


def _settle(scenario: Scenario, within: float = 90) -> tuple[Counter[str], list[str]]:
    """Wait for all outcomes and for quiet; return how many there are of each, and the message ids that they name."""
    published = scenario.wait_confirmed(within=within)
    scenario.wait(scenario.is_idle, 40, "idle")
    last = [scenario.events_of(id_)[-1].json["data"]["message_id"] for id_ in scenario.commands]
    return Counter(published.values()), [message_id for message_id in last if message_id is not None]


def _note(scenario: Scenario, outcomes: Counter[str], *, expected: int) -> None:
    """Add the row: the texts are identical, so the messages are counted."""
    scenario.note(Verdict(outcomes=outcomes, provider_duplicates=len(scenario.provider.journal()) - expected))


@pytest.mark.parametrize("place", [ALIKE, ELSEWHERE], ids=["the same", "another"])
@pytest.mark.parametrize("kept", [0, 2])
def test_message_that_a_trial_account_may_have_dropped_is_unknown_and_not_resent(
    make_scenario: MakeScenario, kept: int, place: str, request: pytest.FixtureRequest
) -> None:
    name = f"P6, a trial account full of {request.node.callspec.id.partition('-')[2]} number's messages, {kept} kept"
    provider = {"history_cap": HISTORY_CAP, "lag": 0.7, "latency": 0.04}
    with make_scenario(name, seed=126, provider=provider, RECONCILE__SKEW="1") as scenario:
        scenario.start()
        _send_alike(scenario, 6)
        scenario.wait_confirmed()
        _in_doubt(scenario, (*LEFT, *TAKEN))
        _fill(scenario, HISTORY_CAP - kept, sender=place)
        scenario.provider.settings(failing={})
        outcomes, claimed = _settle(scenario)
        accepted = [entry["message_id"] for entry in scenario.provider.journal()]
        _note(scenario, outcomes, expected=6 + len(TAKEN))

        # Each message that it still shows is claimed; the other submissions are unknown.
        assert outcomes == {"sent": 6 + kept, "unknown": len(LEFT) + len(TAKEN) - kept}
        assert len(accepted) == 6 + len(TAKEN)
        assert len(set(claimed)) == len(claimed) == 6 + kept
        assert set(claimed) <= set(accepted)
        assert scenario.amqp.depth("sms.dead") == outcomes["unknown"]


def test_identical_texts_are_distinguished_by_number_when_the_history_is_late(
    make_scenario: MakeScenario,
) -> None:
    number, faults = 40, [*TAKEN, *LEFT] * 2
    with make_scenario(
        "P6, one text to one number, 40 times, history 2 s late", seed=127, provider={"lag": 2.0}
    ) as scenario:
        scenario.start()
        scenario.provider.faults(*({"name": name, "text": "<alike>"} for name in faults))
        _send_alike(scenario, number)
        scenario.wait(lambda: scenario.provider.stats()["faults_waiting"] == 0, 30, "all faults")
        scenario.fired["faulty answers"] = len(faults)
        # Of several alike that are looked up at once, some wait for the next lookup: 2 s later, then 4, 8 ... 64.
        outcomes, claimed = _settle(scenario, within=240)
        accepted = [entry["message_id"] for entry in scenario.provider.journal()]
        _note(scenario, outcomes, expected=number)

        assert outcomes == {"sent": number}
        assert sorted(claimed) == sorted(accepted)


@pytest.mark.parametrize("late", LATE)
def test_message_shown_after_the_settle_window_is_dead_lettered_and_recognized_on_replay(
    make_scenario: MakeScenario, ledger: str | None, late: str
) -> None:
    with make_scenario(
        f"P5, {late}, no resend", seed=105, ledger=ledger, RECONCILE__ON_ABSENT="park"
    ) as scenario:
        ids = _too_late(scenario, late)
        first = scenario.wait_confirmed()

        assert set(first.values()) == {"unknown"}
        letters = scenario.letters()
        assert [letter.headers["x-bridge-outcome"] for letter in letters] == ["unknown"] * len(ids)
        for letter in letters:
            scenario.put_letter(letter)
        _show_all(scenario, len(ids))
        # Not even then is one sent again: it is looked up first.
        assert scenario.operate("dead", "replay", "--all", "--resend", "--yes")[0] == 0
        scenario.wait(lambda: set(scenario.published().values()) == {"sent"}, what="what the history shows")
        scenario.wait(scenario.is_idle, 40, "idle")
        scenario.note(_by_count(scenario, len(ids)))

        assert scenario.provider.stats()["sends"] == len(scenario.provider.journal()) == len(ids)
        assert all(scenario.events_of(id_)[-1].json["data"]["reconciled"] for id_ in ids)


@pytest.mark.parametrize("late", LATE)
def test_message_shown_after_the_settle_window_is_sent_twice_at_most_as_documented(
    make_scenario: MakeScenario, ledger: str | None, late: str
) -> None:
    name = f"P5, {late}, resend: two, as documented"
    with make_scenario(name, seed=105, ledger=ledger, RECONCILE__ON_ABSENT="resend") as scenario:
        ids = _too_late(scenario, late)
        published = scenario.wait_confirmed()
        _show_all(scenario, 2 * len(ids))
        scenario.wait(scenario.is_idle, 40, "idle")
        scenario.note(_by_count(scenario, len(ids)))

        # The price of the default: one more each, and still one outcome, which is true.
        assert set(published.values()) == {"sent"}
        assert Counter(scenario.provider.texts()) == dict.fromkeys(scenario.commands.values(), 2)
        outcomes = [[m for m in scenario.events_of(id_) if m.routing_key in TERMINAL] for id_ in ids]
        assert [len(events) for events in outcomes] == [1] * len(ids)
        accepted = {entry["message_id"] for entry in scenario.provider.journal()}
        assert {events[0].json["data"]["message_id"] for events in outcomes} <= accepted


def test_specification_names_the_cost_of_a_late_history() -> None:
    document = " ".join(DOCUMENT.with_name("reliability.md").read_text().split())

    assert (
        "shows in its history only after `reconcile.settle` counts as absent, and the bridge sends it again"
        in document
    )
    assert '`reconcile.on_absent = "park"` gives `unknown` instead' in document


def _too_late(scenario: Scenario, late: str) -> list[str]:
    """Send commands of which the provider takes the first calls, unseen until the settle window is over."""
    fault: dict[str, object] = {"name": "accept-drop"}
    if late == "shown late":
        scenario.provider.settings(lag=NEVER)
    else:
        fault = {"name": "accept-late", "seconds": TOO_LATE}
    scenario.start()
    ids = scenario.send(5, fault=fault)
    scenario.fired[late] = len(ids)
    return ids


def _show_all(scenario: Scenario, accepted: int) -> None:
    """Wait until the provider has taken so many, and have its history show them."""
    scenario.wait(lambda: scenario.accepted == accepted, 60, "late sends")
    scenario.provider.settings(lag=0)


def _by_count(scenario: Scenario, expected: int) -> Verdict:
    outcomes = Counter(scenario.published().values())
    return Verdict(outcomes=outcomes, provider_duplicates=len(scenario.provider.journal()) - expected)
