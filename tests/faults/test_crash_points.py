"""Kill -9 between any two steps of a command: W1, the table of crash points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import MakeScenario

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

#: The provider wants to be left alone for longer than a worker waits: the command goes to the delay.
BUSY = {"name": "status", "status": 429, "retry_after": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Where the worker dies, and what must follow."""

    failpoint: str
    outcome: str = "sent"
    #: Requests that reach the provider, and those of them that it accepts.
    posts: int = 1
    accepted: int = 1
    reconciled: bool = False
    fault: dict[str, object] | None = None
    on_absent: str = "resend"
    #: How often the outcome may be published again.
    again: int = 0


POINTS = {
    "K0, before the claim": Point(failpoint="claiming"),
    "K2, claimed, no byte sent": Point(failpoint="claimed"),
    "K2, claimed, no byte sent, no resend": Point(
        failpoint="claimed", outcome="unknown", posts=0, accepted=0, on_absent="park"
    ),
    "K3, answered, not recorded": Point(failpoint="answered", reconciled=True),
    "K4, recorded, not published": Point(failpoint="recorded"),
    "K5, published, not acknowledged": Point(failpoint="published", again=1),
    "KD, rescheduled, no copy": Point(failpoint="version-begun", posts=2, fault=BUSY),
    "KD, copy confirmed, not acknowledged": Point(failpoint="published", posts=2, fault=BUSY, again=1),
}
#: Those that are part of every run of the tests.
ALWAYS = {"K3, answered, not recorded", "K5, published, not acknowledged"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ALWAYS else [pytest.mark.long]) for name in POINTS]
)
def test_crash_between_two_steps_costs_no_sms_and_no_outcome(
    name: str, make_scenario: MakeScenario, ledger: str | None
) -> None:
    point = POINTS[name]
    with make_scenario(f"W1 {name}", ledger=ledger, RECONCILE__ON_ABSENT=point.on_absent) as scenario:
        scenario.start(failpoint=point.failpoint)
        (command_id,) = scenario.send(fault=point.fault)
        scenario.died()
        scenario.start()
        published = scenario.wait_confirmed()
        verdict = scenario.kept()

        assert published == {command_id: point.outcome}
        assert scenario.provider.stats()["sends"] == point.posts
        assert len(scenario.provider.journal()) == point.accepted
        assert scenario.events_of(command_id)[-1].json["data"]["reconciled"] == point.reconciled
        # Only a confirmed event whose command was not acknowledged may be published again: the same event.
        assert verdict.duplicate_events <= point.again


@pytest.mark.long
def test_crash_while_the_provider_does_not_answer_is_reconciled(
    make_scenario: MakeScenario, ledger: str | None
) -> None:
    with make_scenario("W1 K3, sent, no answer yet", ledger=ledger) as scenario:
        scenario.start()
        (command_id,) = scenario.send(fault={"name": "accept-hang"})
        scenario.wait(lambda: scenario.accepted == 1, what="an accepted send")
        scenario.fired["crashes"] = scenario.kill()
        scenario.start()
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 1}
        assert scenario.events_of(command_id)[-1].json["data"]["reconciled"]
        assert scenario.provider.stats()["sends"] == 1


@pytest.mark.long
def test_crash_after_the_ack_changes_nothing(make_scenario: MakeScenario, ledger: str | None) -> None:
    with make_scenario("W1 K6, acknowledged", ledger=ledger) as scenario:
        scenario.start()
        (command_id,) = scenario.send()
        scenario.wait_confirmed()
        scenario.wait(lambda: scenario.queued() == 0, what="the ack")
        scenario.kill()
        scenario.fired["crashes"] += 1
        scenario.start()
        (_,) = scenario.send()
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 2}
        assert verdict.duplicate_events == 0
        assert len(scenario.events_of(command_id)) == 1


@pytest.mark.long
def test_poison_command_is_given_up_and_other_commands_are_sent(
    make_scenario: MakeScenario, ledger: str | None
) -> None:
    with make_scenario("C2, poison", seed=2, ledger=ledger, WORKER__POISON_AFTER="3") as scenario:
        scenario.start(failpoint="claimed")
        (poison,) = scenario.send()
        scenario.died()
        for _ in range(2):
            scenario.start(failpoint="looked-up", ready=False)
            scenario.died(within=60)
        scenario.start(ready=False)
        scenario.send(20)
        published = scenario.wait_confirmed()
        scenario.kept()

        assert published.pop(poison) == "unknown"
        assert set(published.values()) == {"sent"}
        error = scenario.events_of(poison)[-1].json["data"]["error"]
        assert error["name"] == "poison"
