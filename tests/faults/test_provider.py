"""A provider that is slow, down, wrong or gone, and tokens that end: P1, P2, P6, P9, P10, P12 and T1 to T3."""

from __future__ import annotations

import socket
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.faults.verdict import Verdict
from tests.harness.chaos_proxy import ChaosProxy

if TYPE_CHECKING:
    from tests.faults.conftest import MakeScenario

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

long = pytest.mark.long


@long
def test_429_is_waited_for_with_any_retry_after_and_fails_nothing(make_scenario: MakeScenario) -> None:
    headers = [None, 1, "Thu, 01 Jan 1970 00:00:00 GMT", 0, -5, "soon", "1e9x"]
    with make_scenario("P1, 429 with any Retry-After", seed=101) as scenario:
        scenario.start()
        for header in headers:
            scenario.send(fault={"name": "status", "status": 429, "retry_after": header})
        scenario.fired["429"] = len(headers)
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": len(headers)}


@long
def test_command_with_a_retry_after_of_30_years_expires_at_its_expiry(make_scenario: MakeScenario) -> None:
    with make_scenario("P1, 429 for 30 years", seed=101) as scenario:
        scenario.start()
        soon = (datetime.now(UTC) + timedelta(seconds=4)).isoformat()  # noqa: TID251 - the command's own time
        scenario.send(fault={"name": "status", "status": 429, "retry_after": 10**9}, expires_at=soon)
        scenario.fired["429"] = 1
        verdict = scenario.kept()

        assert verdict.outcomes == {"expired": 1}


@pytest.mark.parametrize(
    "fault",
    [
        {"name": "status", "status": 503, "retry_after": 1},
        {
            "name": "status",
            "status": 503,
            "body": "<html>down</html>",
            "headers": {"Content-Type": "text/html"},
        },
        {"name": "status", "status": 500},
    ],
    ids=["503 with Retry-After", "503, a page", "500"],
)
@long
def test_outage_fails_nothing_and_causes_no_storm_of_calls(
    make_scenario: MakeScenario, fault: dict[str, object], request: pytest.FixtureRequest
) -> None:
    with make_scenario(f"P2, outage of 8 s, {request.node.callspec.id}", seed=102) as scenario:
        scenario.start()
        scenario.send(5)
        scenario.wait_confirmed()
        scenario.provider.settings(failing={"send": fault})
        scenario.send(60)
        before = scenario.provider.stats()["sends"]
        with pytest.raises(AssertionError):
            scenario.wait(lambda: scenario.accepted > 5, within=8)
        during = scenario.provider.stats()["sends"] - before
        scenario.provider.settings(failing={})
        scenario.fired["refused calls"] = during
        scenario.resumes(within=70)
        verdict = scenario.kept(within=120)

        assert verdict.outcomes == {"sent": 65}
        # Without breaker or hold-back 8 callers would make some 1,500; as asked, each command waits a second.
        assert during <= 60 * 4


@long
def test_identical_messages_are_each_claimed_once(make_scenario: MakeScenario, ledger: str | None) -> None:
    with make_scenario("P6, one text to one number, 12 times", seed=106, ledger=ledger) as scenario:
        scenario.start()
        text = "canary <alike>"
        faults = ["accept-drop", "drop", "accept-500", "accept-hang", "reset", "accept-truncate"]
        scenario.provider.settings(failing={"history": {"name": "status", "status": 500}})
        scenario.provider.faults(*({"name": name, "text": "<alike>"} for name in faults))
        ids = scenario.send(12, message=text, destination_address="+16135550001")
        scenario.wait(lambda: scenario.provider.stats()["faults_waiting"] == 0, 30, "all faults")
        scenario.provider.settings(failing={})
        scenario.fired["faulty answers"] = len(faults)
        scenario.fired["history down"] = 1
        published = scenario.wait_confirmed(ids, within=90)
        claimed = [scenario.events_of(id_)[-1].json["data"]["message_id"] for id_ in ids]
        accepted = [entry["message_id"] for entry in scenario.provider.journal()]

        assert set(published.values()) == {"sent"}
        assert sorted(claimed) == sorted(accepted)
        # The texts are identical: joined by the ids of the messages alone.
        scenario.note(
            Verdict(outcomes=Counter(published.values()), provider_duplicates=len(accepted) - len(ids))
        )


@long
def test_command_is_sent_once_when_the_provider_becomes_reachable(make_scenario: MakeScenario) -> None:
    with make_scenario("P9, connections refused for 5 s", seed=109) as scenario:
        with ChaosProxy(("127.0.0.1", urlsplit(scenario.provider.url).port or 0)) as proxy:
            scenario.start(CPAAS__BASE_URL=f"http://127.0.0.1:{proxy.port}")
            scenario.send(5)
            scenario.wait_confirmed()
            proxy.refuse()
            scenario.send(30)
            with pytest.raises(AssertionError):
                scenario.wait(lambda: scenario.accepted > 5, within=5)
            proxy.pass_through()
            scenario.fired["resets"] = proxy.counters.resets
            scenario.resumes(within=70)
            verdict = scenario.kept(within=90)

        assert verdict.outcomes == {"sent": 35}


@long
def test_redirect_is_not_followed_and_holds_everything(make_scenario: MakeScenario) -> None:
    with (
        make_scenario("P10, redirect", seed=110) as scenario,
        socket.create_server(("127.0.0.1", 0)) as elsewhere,
    ):
        elsewhere.settimeout(0.1)
        place = {"Location": f"http://127.0.0.1:{elsewhere.getsockname()[1]}/"}
        worker = scenario.start()
        scenario.provider.settings(failing={"send": {"name": "status", "status": 307, "headers": place}})
        scenario.send(10)
        scenario.wait(lambda: worker.admin("/readyz")[0] == 503, what="a worker that is not ready")
        scenario.fired["redirects"] = scenario.provider.stats()["sends"]
        with pytest.raises(TimeoutError):
            elsewhere.accept()
        scenario.provider.settings(failing={})
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 10}
        assert [scenario.events_of(id_)[-1].json["data"]["attempts"] for id_ in scenario.commands] == [1] * 10


@long
def test_idle_connections_that_the_provider_closes_cost_nothing(make_scenario: MakeScenario) -> None:
    settings = {"CPAAS__IDLE_TIMEOUT": "0.3"}
    with make_scenario(
        "P12, stale connections", seed=112, provider={"keep_alive": 0.5}, **settings
    ) as scenario:
        scenario.start()
        for _ in range(8):
            scenario.send(8)
            scenario.wait_confirmed()
            with pytest.raises(AssertionError):
                scenario.wait(lambda: False, within=scenario.chance.uniform(0.4, 0.7))
            scenario.fired["idle spells"] += 1
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 64}
        assert scenario.provider.stats()["sends"] == 64


@long
def test_tokens_valid_for_4_s_fail_nothing(make_scenario: MakeScenario) -> None:
    with make_scenario("T1, tokens of 4 s", seed=201, provider={"token_lifetime": 4.0}) as scenario:
        scenario.start()
        for _ in range(12):
            scenario.send(10)
            with pytest.raises(AssertionError):
                scenario.wait(lambda: False, within=1.0)
        tokens = scenario.provider.stats()["token_requests"]
        scenario.fired["tokens"] = tokens
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 120}
        # Half-lives in the time it took, and a few for a machine that stutters.
        assert 3 <= tokens <= 12


def test_storm_of_401_costs_one_token_a_wave_and_no_command(make_scenario: MakeScenario) -> None:
    with make_scenario("T2, all tokens revoked in flight", seed=202) as scenario:
        scenario.start()
        before = scenario.provider.stats()["token_requests"]
        # However fast the worker is: while one thread waits for a token, all others come to want one.
        scenario.provider.settings(token_latency=0.3)
        for _ in range(5):
            scenario.send_in_background([scenario.command()[1] for _ in range(40)])
            scenario.resumes()
            scenario.provider.post("tokens/revoke", {})
            scenario.fired["revocations"] += 1
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 200}
        assert scenario.provider.stats()["token_requests"] - before <= 2 * 5 + 1


@long
@pytest.mark.parametrize(
    "fault",
    [
        {"name": "status", "status": 500},
        {"name": "hang"},
        {"name": "status", "status": 401, "body": {"error": "invalid_client"}},
        {"name": "status", "status": 200, "body": "<html>", "headers": {"Content-Type": "text/html"}},
        {"name": "no-id-token"},
    ],
    ids=["500", "hangs", "invalid_client", "HTML", "no id_token"],
)
def test_without_a_token_commands_wait_and_none_fails(
    make_scenario: MakeScenario, fault: dict[str, object], request: pytest.FixtureRequest
) -> None:
    with make_scenario(f"T3, token endpoint: {request.node.callspec.id}", seed=203) as scenario:
        worker = scenario.start()
        scenario.provider.settings(failing={"token": fault})
        scenario.send(30)
        scenario.wait(lambda: worker.admin("/readyz")[0] == 503, 30, "a worker that is not ready")
        scenario.fired["token requests"] = scenario.provider.stats()["token_requests"]

        assert scenario.accepted == 0
        scenario.provider.settings(failing={})
        scenario.resumes(within=70)
        verdict = scenario.kept(within=90)

        assert verdict.outcomes == {"sent": 30}
