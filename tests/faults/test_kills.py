"""Kill -9 at random, of the worker and of the broker, while the provider answers wrongly: W2, B1, P3 and P4 at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.faults.stack import CONCURRENCY, IN_FLIGHT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.conftest import MakeScenario
    from tests.faults.scenario import Scenario

Fault: TypeAlias = dict[str, object]

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

#: The provider took it, and the client does not learn that: P3, and accepted late: P5.
ACCEPTED: tuple[Fault, ...] = (
    {"name": "accept-drop"},
    {"name": "accept-reset"},
    {"name": "accept-hang"},
    {"name": "accept-truncate"},
    {"name": "accept-garbage"},
    {"name": "accept-drip"},
    {"name": "accept-empty"},
    {"name": "accept-500"},
    {"name": "accept-502"},
    {"name": "accept-504"},
    {"name": "accept-late", "seconds": 0.7},
    {"name": "no-message-id"},
)
#: The provider did not take it, and the client does not learn that: P4.
NOT_ACCEPTED: tuple[Fault, ...] = (
    {"name": "drop"},
    {"name": "reset"},
    {"name": "hang"},
    {"name": "garbage"},
    {"name": "status", "status": 408},
    {"name": "status", "status": 409},
    {"name": "status", "status": 500},
    {"name": "status", "status": 502},
    {"name": "status", "status": 503},
    {"name": "status", "status": 504},
)
#: The provider says no, for now or for good.
REFUSED: tuple[Fault, ...] = (
    {"name": "status", "status": 429, "retry_after": 1},
    {
        "name": "status",
        "status": 400,
        "body": {"requestError": {"serviceException": {"messageId": "SVC0002"}}},
    },
)
#: The share of commands whose first send goes wrong.
FAULTY = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """How bad it gets."""

    commands: int
    worker_kills: int
    broker_kills: int
    seed: int

    @property
    def share(self) -> int:
        """How many commands are published in each round."""
        return self.commands // (self.worker_kills + self.broker_kills + 1)


def test_no_kill_of_worker_or_broker_loses_an_sms_or_an_outcome(
    make_scenario: MakeScenario, ledger: str | None
) -> None:
    storm = Storm(commands=100, worker_kills=4, broker_kills=1, seed=20)
    with make_scenario("W2+B1+P3+P4, small", seed=storm.seed, ledger=ledger) as scenario:
        _weather(scenario, storm)


@pytest.mark.long
def test_none_of_2000_commands_is_sent_twice_or_lost_through_50_kills(
    make_scenario: MakeScenario, ledger: str | None
) -> None:
    storm = Storm(commands=2000, worker_kills=40, broker_kills=10, seed=2000)
    with make_scenario("W2+B1+P3+P4", seed=storm.seed, ledger=ledger) as scenario:
        _weather(scenario, storm)


def _weather(scenario: Scenario, storm: Storm) -> None:
    scenario.start()
    faults = list(_faults(scenario, storm))
    iterations = ["worker"] * storm.worker_kills + ["broker"] * storm.broker_kills
    scenario.chance.shuffle(iterations)
    scenario.broker.settle()
    for victim in iterations:
        scenario.send_in_background([scenario.command(faults.pop())[1] for _ in range(storm.share)])
        _strike(scenario, storm, victim)
        scenario.fired[f"kills of the {victim}"] += 1
    scenario.send_in_background([scenario.command(fault)[1] for fault in faults])
    scenario.resumes()
    scenario.fired["faulty answers"] = int(storm.commands * FAULTY)
    verdict = scenario.kept(within=120)

    # A worker killed between its claim and its call met no fault; if the history proves nothing, it is unknown.
    assert scenario.provider.stats()["faults_waiting"] <= verdict.outcomes["unknown"]
    assert verdict.outcomes["unknown"] <= storm.worker_kills * CONCURRENCY


def _strike(scenario: Scenario, storm: Storm, victim: str) -> None:
    """Kill after a random number of further sends, with work in flight."""
    until = scenario.accepted + scenario.chance.randint(2, max(3, storm.share // 2))
    scenario.wait(lambda: scenario.accepted >= until, 60, "further sends")
    if victim == "broker":
        scenario.crashed = True
        scenario.broker.restart(settle=False)
        return
    while not scenario.kill():
        # No work was in flight: such a kill proves nothing, and another one follows.
        scenario.start()
        scenario.wait(lambda: scenario.rows(IN_FLIGHT), 60, "work in flight")
    scenario.start(ready=False)


def _faults(scenario: Scenario, storm: Storm) -> Iterator[Fault | None]:
    """Yield each command's fault: every kind in turn, at places that chance chooses."""
    kinds = [*ACCEPTED, *NOT_ACCEPTED, *REFUSED]
    number = int(storm.commands * FAULTY)
    planned: list[Fault | None] = [kinds[nth % len(kinds)] for nth in range(number)]
    planned += [None] * (storm.commands - number)
    scenario.chance.shuffle(planned)
    yield from planned
