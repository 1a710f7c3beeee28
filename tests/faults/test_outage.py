"""A provider that is gone for long, its history and its token endpoint with it: P2, P9 and I11 over a whole outage."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from bridge.domain.circuit_breaker import DOWN
from bridge.domain.ledger.limits import BURST, LAPSE
from tests.faults.stack import CONCURRENCY, IN_FLIGHT
from tests.harness.chaos_proxy import ChaosProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.faults.conftest import MakeScenario
    from tests.faults.scenario import Scenario

pytestmark = [pytest.mark.broker, pytest.mark.acceptance, pytest.mark.long]

#: Seconds: ten settle windows, eight of the longest pauses between two attempts, five of those between two probes.
OUTAGE = 25.0
#: Seconds after its end within which what waits flows again.
RECOVERY = 10.0
#: Failures in a row that show the provider to be down, and what was under way by then.
NOTICED = 5 + 2 * CONCURRENCY
#: Calls of a probe that fails: the history, and the subscriptions where that alone may be down.
PROBE = 2
#: Probes of an outage, after 1, 2, 4 and then every 5 s.
PROBES = 3 + int(OUTAGE / 5)

Fault = dict[str, object]


@dataclass(kw_only=True)
class Outage:
    """The observations of one. Times are seconds since the epoch, by the provider's clock."""

    began: float
    ended: float = float("inf")
    #: Outcomes before it.
    published: frozenset[str] = frozenset()


def _everything(fault: Fault, *more: str) -> dict[str, Fault]:
    return dict.fromkeys(("send", "history", "subscriptions", *more), fault)


def _pass(scenario: Scenario, seconds: float) -> None:
    with pytest.raises(AssertionError):
        scenario.wait(lambda: False, within=seconds)


def _begin(scenario: Scenario, begin: Callable[[], None], *, in_doubt: int = CONCURRENCY) -> Outage:
    """Have calls under way whose answers never come, half of them accepted, and the provider gone that moment."""
    scenario.send(20)
    scenario.wait_confirmed()
    scenario.send(in_doubt // 2, fault={"name": "accept-hang"})
    scenario.send(in_doubt // 2, fault={"name": "hang"})
    scenario.wait(lambda: scenario.provider.stats()["faults_waiting"] == 0, what="calls that hang")
    scenario.fired["calls in flight"] = scenario.rows(IN_FLIGHT)
    begin()
    return Outage(began=time.time(), published=frozenset(scenario.published()))


def _endure(scenario: Scenario, outage: Outage, *, commands: int) -> None:
    """Let the outage last while commands go on coming: nothing is published, nothing is given up."""
    end = time.monotonic() + OUTAGE
    for number in range(commands):
        scenario.send()
        _pass(scenario, max(0.01, (end - time.monotonic()) / (commands - number)))

        assert frozenset(scenario.published()) == outage.published
        assert scenario.amqp.depth("sms.dead") == 0


def _end(scenario: Scenario, outage: Outage, end: Callable[[], object]) -> None:
    """End it, and see the first send in time."""
    outage.ended = time.time()
    end()
    scenario.resumes(within=4 * RECOVERY)

    assert scenario.recovery is not None
    assert scenario.recovery <= RECOVERY


def _calls(
    scenario: Scenario, kind: str, since: float, until: float = float("inf")
) -> list[Mapping[str, Any]]:
    """Return the calls of one kind that came in that time, in order."""
    return [
        call
        for call in scenario.provider.calls()
        if call["kind"] == kind and since * 1000 <= call["at"] <= until * 1000
    ]


def _gaps(scenario: Scenario, outage: Outage) -> list[float]:
    """Return the seconds between a send that was refused for a time and the next of the same command."""
    at: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for call in _calls(scenario, "send", outage.began):
        at[call["message"]].append(call)
    return [
        (later["at"] - earlier["at"]) / 1000
        for calls in at.values()
        for earlier, later in itertools.pairwise(calls)
        if earlier["status"] == 503
    ]


def _pauses(scenario: Scenario, command_id: str) -> list[float]:
    """Return the seconds that a command's attempts which never left were to wait for the next."""
    deferred = [m.json for m in scenario.events_of(command_id) if m.routing_key == "sms.outbound.deferred"]
    return [
        (_seconds(event["data"]["retry_at"]) - _seconds(event["time"]))
        for event in deferred
        if event["data"]["error"]["name"] == "network"
    ]


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _assert_hardly_asked(scenario: Scenario, outage: Outage) -> None:
    """Check that a provider that is down was left alone: a few sends until that was noticed, then probes."""
    sends = _calls(scenario, "send", outage.began, outage.ended)
    others = [
        call
        for kind in ("history", "subscriptions", "token")
        for call in _calls(scenario, kind, outage.began, outage.ended)
    ]
    scenario.fired["refused calls"] = len(sends) + len(others)

    assert len(sends) <= NOTICED
    # And one history lookup for each in doubt, made before the circuit breaker opened.
    assert len(others) <= PROBE * PROBES + NOTICED


def _assert_no_stampede(scenario: Scenario, outage: Outage) -> None:
    """Check that sends began one by one: after a probe one, and each that went well let in as many again."""
    sends = _calls(scenario, "send", outage.ended)
    first = sends[0]["at"] / 1000
    kinds = ("history", "subscriptions")
    probed = [
        call
        for kind in kinds
        for call in _calls(scenario, kind, outage.began, first)
        if call["status"] == 200
    ]

    assert probed
    for number, call in enumerate(sends):
        at_once = call["in_flight"]
        well = number + 1 - at_once

        assert at_once <= min(CONCURRENCY, 2**well), (number, call)


@pytest.mark.parametrize(
    "fault",
    [_everything({"name": "status", "status": 500}), _everything({"name": "hang"}, "token")],
    ids=["500", "silence, of the token endpoint too"],
)
def test_long_outage_loses_nothing_and_waiting_commands_are_sent_soon_after(
    make_scenario: MakeScenario, ledger: str | None, fault: dict[str, Fault], request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.id.partition("-")[2]
    name = f"P2, outage of {OUTAGE:g} s, {kind}"

    with make_scenario(name, seed=121, ledger=ledger) as scenario:
        scenario.start()

        def begin() -> None:
            scenario.provider.settings(failing=fault)
            if "token" in fault:
                scenario.provider.post("tokens/revoke", {})

        outage = _begin(scenario, begin)
        _endure(scenario, outage, commands=100)
        _end(scenario, outage, lambda: scenario.provider.settings(failing={}))
        _assert_hardly_asked(scenario, outage)
        verdict = scenario.kept(within=150)

        assert verdict.outcomes == {"sent": 128}
        _assert_no_stampede(scenario, outage)


def test_rate_limited_call_is_not_retried_before_retry_after(make_scenario: MakeScenario) -> None:
    wait = 3
    with make_scenario(f"P2, outage of {OUTAGE:g} s, 503 with Retry-After", seed=122) as scenario:
        scenario.start()
        refusal: Fault = {"name": "status", "status": 503, "retry_after": wait}
        # Fewer in doubt than would open the circuit breaker, which alone would stop the calls.
        outage = _begin(
            scenario, lambda: scenario.provider.settings(failing=_everything(refusal)), in_doubt=4
        )
        _endure(scenario, outage, commands=100)
        _end(scenario, outage, lambda: scenario.provider.settings(failing={}))
        verdict = scenario.kept(within=150)
        refused = [
            call for call in _calls(scenario, "send", outage.began, outage.ended) if call["status"] == 503
        ]
        scenario.fired["refused calls"] = len(refused)

        assert verdict.outcomes == {"sent": 124}
        # No refused submission comes sooner.
        assert min(_gaps(scenario, outage)) >= wait
        # Nor does anybody else: as many as call at once, each time the quiet is over, however many wait.
        waves = OUTAGE / wait + 1
        assert waves / 2 <= len(refused) <= waves * CONCURRENCY


def test_failed_connections_are_retried_with_jitter(make_scenario: MakeScenario) -> None:
    with (
        make_scenario(f"P9, connections refused for {OUTAGE:g} s", seed=123) as scenario,
        contextlib.ExitStack() as line,
    ):
        provider = ("127.0.0.1", urlsplit(scenario.provider.url).port or 0)
        proxy = line.enter_context(ChaosProxy(provider))
        scenario.start(CPAAS__BASE_URL=f"http://127.0.0.1:{proxy.port}")
        outage = _begin(scenario, proxy.close, in_doubt=4)
        late = scenario.send(2 * CONCURRENCY)
        _endure(scenario, outage, commands=100)
        _end(scenario, outage, lambda: line.push(ChaosProxy(provider, proxy.port)))
        verdict = scenario.kept(within=150)
        pauses = [pause for id_ in late for pause in _pauses(scenario, id_)]
        scenario.fired["attempts that did not leave"] = len(pauses)

        assert verdict.outcomes == {"sent": 124 + 2 * CONCURRENCY}
        assert not _calls(scenario, "send", outage.began, outage.ended)
        _assert_no_stampede(scenario, outage)
        # Full jitter: those that failed together do not come back together.
        assert len(pauses) >= CONCURRENCY / 2
        assert len(set(pauses)) == len(pauses)


def test_after_an_outage_no_more_goes_out_than_the_limits_allow(make_scenario: MakeScenario) -> None:
    rate = 5
    with make_scenario(
        f"P2, outage of {OUTAGE:g} s under a limit", seed=124, LIMITS__ACCOUNT_PER_SECOND=str(rate)
    ) as scenario:
        scenario.start()
        scenario.send(120)
        # These are due while it lasts, and no submission can use them.
        scenario.wait(lambda: scenario.rows("reserved > 0") >= 90, what="reservations")
        scenario.fired["reservations"] = scenario.rows("reserved > 0")
        silence = _everything({"name": "hang"})
        scenario.provider.settings(failing=silence)
        scenario.wait(lambda: scenario.provider.stats().get("fault:hang"), what="a call that hangs")
        scenario.fired["calls in flight"] = scenario.rows(IN_FLIGHT)
        scenario.wait(lambda: DOWN in scenario.running.logs, what="a gate that is shut")
        outage = Outage(began=time.time(), published=frozenset(scenario.published()))
        _endure(scenario, outage, commands=50)
        _end(scenario, outage, lambda: scenario.provider.settings(failing={}))
        verdict = scenario.kept(within=150)
        times = [call["at"] / 1000 for call in _calls(scenario, "send", outage.ended)]
        most = max(sum(began <= at < began + 1 for at in times) for began in times)

        assert verdict.outcomes == {"sent": 170}
        _assert_no_stampede(scenario, outage)
        # A second's worth may go at once after a quiet time, and so may what is not too late for its own slot.
        assert most <= rate * (1 + BURST + LAPSE)
