"""The bounds of a fault's cost: memory, descriptors and threads (I9), and the rate of good commands (I14)."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.stack import IN_FLIGHT
from tests.faults.test_kills import ACCEPTED, NOT_ACCEPTED, REFUSED, Fault
from tests.harness.chaos_proxy import DOWN, UP, ChaosProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.conftest import MakeScenario
    from tests.faults.scenario import Scenario
    from tests.harness.broker import Broker
    from tests.harness.processes import BridgeProcess

pytestmark = [pytest.mark.broker, pytest.mark.acceptance, pytest.mark.long]

#: All calls take so long: the machine's own pace matters little then.
LATENCY = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much a process holds."""

    #: MB of memory that are in use.
    rss: float
    descriptors: int
    threads: int


def _size(worker: BridgeProcess) -> Size:
    process = Path(f"/proc/{worker.pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return Size(
        rss=int(status["VmRSS"].split()[0]) / 1024,
        descriptors=len(list((process / "fd").iterdir())),
        threads=int(status["Threads"]),
    )


def _wave(scenario: Scenario, number: int = 100) -> None:
    """Send so many without a fault and wait until all is quiet: what a worker holds then is what it needs."""
    scenario.wait_confirmed(scenario.send(number))
    scenario.wait(scenario.is_idle, 40, "idle")


def _has_accepted(scenario: Scenario, number: int) -> bool:
    return scenario.accepted >= number


def _storm(scenario: Scenario, proxy: ChaosProxy, *, iterations: int, commands: int) -> None:
    """Send with every fourth answer wrong, and a connection cut in the middle of each round."""
    faults: list[Fault] = [*ACCEPTED, *NOT_ACCEPTED, *REFUSED]
    for number in range(iterations):
        chosen = [
            scenario.chance.choice(faults) if scenario.chance.random() < 0.25 else None
            for _ in range(commands)
        ]
        until = scenario.accepted + commands // 4
        scenario.send_in_background([scenario.command(fault)[1] for fault in chosen])
        scenario.fired["faulty answers"] += sum(fault is not None for fault in chosen)
        scenario.wait(partial(_has_accepted, scenario, until), 60, "further sends")
        scenario.wait(lambda: scenario.rows(IN_FLIGHT), what="work in flight")
        if number % 3 == 0:
            scenario.fired["connections cut"] += proxy.reset()
        else:
            proxy.cut_after(scenario.chance.randint(1, 2000), UP if number % 3 == 1 else DOWN)
        scenario.wait_confirmed(within=120)
    scenario.fired["connections cut"] += proxy.counters.cuts


def test_after_a_storm_of_faults_a_worker_holds_no_more_than_before(
    make_scenario: MakeScenario, rabbitmq: Broker
) -> None:
    with (
        ChaosProxy(("127.0.0.1", rabbitmq.port)) as proxy,
        make_scenario(
            "I9, growth over 1500 commands with faults and cuts",
            seed=901,
            port=proxy.port,
            provider={"latency": LATENCY, "lag": 0.7},
            # As below: so many in half a minute would leave some of them unknown.
            RECONCILE__HISTORY_CAP="0",
        ) as scenario,
    ):
        worker = scenario.start()
        scenario.crashed = True
        for _ in range(3):
            _wave(scenario)
        before = _size(worker)
        _storm(scenario, proxy, iterations=15, commands=100)
        _wave(scenario)
        scenario.wait(lambda: _size(worker).descriptors <= before.descriptors + 3, 30, "descriptors back")
        after = _size(worker)
        verdict = scenario.kept(within=120)

        assert verdict.outcomes["sent"] + verdict.outcomes["rejected"] == len(scenario.commands)
        assert scenario.provider.stats()["faults_waiting"] == 0
        assert abs(after.descriptors - before.descriptors) <= 3, (before, after)
        assert abs(after.threads - before.threads) <= 3, (before, after)
        assert after.rss - before.rss <= 30, (before, after)


#: Good commands of a round, and what is mixed among them.
GOOD = 300
#: Rounds of each kind, in turns.
ITERATIONS = 3
BAD_NUMBER = "+16135559999"
BAD: list[Fault] = [
    *[Fault(name="accept-hang")] * 2,
    *[Fault(name="status", status=500)] * 5,
    *[Fault(name="accept-drop")] * 5,
    *[Fault(name="status", status=400)] * 5,
]


def _bad_number(scenario: Scenario) -> Iterator[bytes]:
    """Yield commands to one number whose calls hang, fail or are refused."""
    for fault in BAD:
        yield scenario.command(fault, destination_address=BAD_NUMBER)[1]
    scenario.fired["faulty answers"] += len(BAD)


def _fast_sender(scenario: Scenario) -> Iterator[bytes]:
    """Yield commands of one sender, far more than it may send."""
    for _ in range(60):
        yield scenario.command(sender_address=NUMBERS[0])[1]
    scenario.fired["commands beyond the limit"] += 60


def _round(scenario: Scenario, bad: list[bytes], senders: tuple[str, ...]) -> float:
    """Return how many good commands a second the provider took with the bad among them."""
    good = [scenario.command(sender_address=senders[n % len(senders)]) for n in range(GOOD)]
    bodies = [body for _, body in good]
    step = GOOD // (len(bad) + 1)
    for number, body in enumerate(bad):
        bodies.insert((number + 1) * step + number, body)
    scenario.send_in_background(bodies)
    scenario.wait_confirmed(within=90)
    scenario.wait(scenario.is_idle, 40, "idle")
    texts = {scenario.commands[id_] for id_, _ in good}
    times = [
        float(entry["accepted_at"]) for entry in scenario.provider.journal() if entry["message"] in texts
    ]
    return GOOD / (max(times) - min(times)) * 1000


#: One sender for what is too much, the others for what is not.
NUMBERS = tuple(f"+1613999{number:04}" for number in range(8000, 8026))


@pytest.mark.parametrize(
    ("bad", "settings"),
    [
        # No thread is silent here for long enough to show how far back the account goes, and it keeps everything.
        pytest.param(_bad_number, {"RECONCILE__HISTORY_CAP": "0"}, id="a number whose calls hang and fail"),
        pytest.param(_fast_sender, {"LIMITS__SENDER_PER_SECOND": "6"}, id="a sender beyond its limit"),
    ],
)
def test_good_commands_keep_their_pace_among_failing_ones(
    make_scenario: MakeScenario,
    bad: Callable[[Scenario], Iterator[bytes]],
    settings: dict[str, str],
    request: pytest.FixtureRequest,
) -> None:
    provider = {"latency": LATENCY, "lag": 0.7, "numbers": NUMBERS}
    with make_scenario(
        f"I14, {request.node.callspec.id}", seed=914, provider=provider, **settings
    ) as scenario:
        scenario.start()
        _wave(scenario)
        alone, among = [], []
        for _ in range(ITERATIONS):
            alone.append(_round(scenario, [], NUMBERS[1:]))
            among.append(_round(scenario, list(bad(scenario)), NUMBERS[1:]))
        verdict = scenario.kept()
        share = statistics.median(among) / statistics.median(alone)

        assert set(verdict.outcomes) <= {"sent", "rejected"}
        assert share >= 0.8, (alone, among)
