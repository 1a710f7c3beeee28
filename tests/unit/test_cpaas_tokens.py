"""Tokens: one for all threads, fetched once, renewed at half its lifetime, replaced when refused."""

from __future__ import annotations

import threading
from urllib.parse import parse_qs

import pytest

from bridge.adapters.clock import SystemClock
from bridge.domain.answers import Accepted, Answer, Blocked, Unsent
from tests.fakes import provider_server as provider
from tests.fakes.clock import HandClock
from tests.fakes.provider_server import Act, answer, fault
from tests.unit.cpaas_setup import SECRET, all_at_once, client_setup, submission


def test_project_credentials_are_sent_as_the_sdks_send_them() -> None:
    with client_setup() as it:
        it.send()
        (request,) = it.server.token_requests

        assert parse_qs(request.body.decode()) == {
            "client_id": ["PUB-bridge"],
            "client_secret": [SECRET],
            "grant_type": ["client_credentials"],
            "scope": ["openid"],
        }
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        assert request.headers["x-cpaas-agent"].startswith("sms-bridge/")
        assert "authorization" not in request.headers


def test_account_credentials_are_sent_as_the_sdks_send_them() -> None:
    with client_setup(client_secret=None, email="a@b.example", password="p&ss w=rd") as it:
        it.send()
        (request,) = it.server.token_requests

        assert parse_qs(request.body.decode()) == {
            "client_id": ["PUB-bridge"],
            "username": ["a@b.example"],
            "password": ["p&ss w=rd"],
            "grant_type": ["password"],
            "scope": ["openid"],
        }


def test_64_threads_without_a_token_fetch_one() -> None:
    with client_setup() as it:
        it.server.token_delay = 0.1
        answers = all_at_once(64, it.send)

        assert all(isinstance(got, Accepted) for got in answers)
        assert len(it.server.sends) == 64
        assert len(it.server.token_requests) == 1


def test_50_threads_with_the_same_dead_token_renew_it_once() -> None:
    with client_setup() as it:
        everyone_is_in = threading.Barrier(50)

        def refuse(peer: provider.Peer) -> bool:
            everyone_is_in.wait(10)
            it.server.revoke()
            return answer(401, b"")(peer)

        it.send()
        it.server.acts.extend([refuse] * 50)
        it.server.token_delay = 0.1
        answers = all_at_once(50, it.send)

        assert [type(got) for got in answers] == [Accepted] * 50
        assert len(it.server.token_requests) == 2


def test_token_is_renewed_at_half_its_lifetime_and_not_before() -> None:
    clock = HandClock()
    with client_setup(clock=clock) as it:
        it.server.token_lifetime = 1000
        it.send()
        clock.pass_by(499)
        it.send()
        before = len(it.server.token_requests)
        clock.pass_by(2)
        it.send()
        it.send()

        assert (before, len(it.server.token_requests)) == (1, 2)


@pytest.mark.parametrize("step", [86_400.0, -86_400.0, 3.2e8, -3.2e8], ids=["+1 d", "-1 d", "+10 y", "-10 y"])
def test_step_of_the_wall_clock_renews_nothing(step: float) -> None:
    clock = HandClock()
    with client_setup(clock=clock) as it:
        it.send()
        clock.wall += step
        it.send()

        assert len(it.server.token_requests) == 1


def test_expires_in_is_used_without_times_in_the_token() -> None:
    clock = HandClock()
    with client_setup(clock=clock) as it:
        it.server.token_acts.append(
            lambda peer: answer(
                200, it.server.new_token() | {"access_token": _opaque(it.server), "expires_in": 100}
            )(peer)
        )
        it.send()
        clock.pass_by(49)
        it.send()
        before = len(it.server.token_requests)
        clock.pass_by(2)
        it.send()

        assert (before, len(it.server.token_requests)) == (1, 2)


def _opaque(server: provider.ProviderServer) -> str:
    server._live.add("opaque-token")
    return "opaque-token"


def test_stale_token_is_used_while_its_renewal_fails() -> None:
    clock = HandClock()
    with client_setup(clock=clock) as it:
        it.server.token_lifetime = 1000
        it.send()
        clock.pass_by(600)
        it.server.token_acts.extend([answer(500, b"")] * 2)
        got = [it.send(), it.send()]

        assert [type(each) for each in got] == [Accepted, Accepted]
        assert len(it.server.token_requests) == 2, "and it is not tried again at once"


def test_expired_token_is_not_used() -> None:
    clock = HandClock()
    with client_setup(clock=clock) as it:
        it.server.token_lifetime = 1000
        it.send()
        clock.pass_by(1001)
        it.server.token_acts.append(answer(500, b""))
        got = it.send()

        assert isinstance(got, Unsent)
        assert len(it.server.sends) == 1


def test_revoked_token_is_replaced_and_the_call_repeated_as_part_of_its_attempt() -> None:
    with client_setup() as it:
        it.send()
        it.server.revoke()
        got = it.client.send(submission(), until=1e12)

        assert isinstance(got.answer, Accepted)
        assert got.attempts == 1
        assert (len(it.server.token_requests), it.server.unauthorized) == (2, 1)


def test_new_token_that_is_also_refused_means_wrong_credentials() -> None:
    with client_setup() as it:
        it.server.acts.extend([answer(401, b""), answer(401, b"")])
        got = it.send()

        assert isinstance(got, Blocked)
        assert it.client.problem == "wrong credentials (401)"
        assert len(it.server.token_requests) == 2
        assert isinstance(it.send(), Accepted)
        assert it.client.problem is None


def test_refused_token_that_worked_for_others_is_no_proof_of_wrong_credentials() -> None:
    with client_setup() as it:
        it.send()

        def another_thread_has_a_new_one(peer: provider.Peer) -> bool:
            it.server.revoke()
            other.append(it.send())
            it.server.revoke()
            return answer(401, b"")(peer)

        other: list[Answer] = []
        it.server.acts.append(another_thread_has_a_new_one)
        got = it.send()

        assert isinstance(other[0], Accepted)
        assert isinstance(got, Unsent)
        assert it.client.problem is None
        assert isinstance(it.send(), Accepted)


WRONG = ["invalid_grant", "invalid_client", "unauthorized_client"]


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize("code", WRONG)
def test_credentials_the_token_endpoint_refuses_block_the_account(status: int, code: str) -> None:
    with client_setup() as it:
        it.server.token_acts.append(
            answer(status, {"error": code, "error_description": "canary description"})
        )
        got = it.send()

        assert isinstance(got, Blocked)
        assert got.error.exception_id == code
        assert it.client.problem == f"wrong credentials ({code})"
        assert it.server.sends == []


TROUBLES: list[tuple[str, Act]] = [
    ("500", answer(500, b"")),
    ("503 page", answer(503, b"<html>sorry</html>")),
    ("404 page", answer(404, b"<html>sorry</html>")),
    ("401 page", answer(401, b"<html>sorry</html>")),
    ("200 page", answer(200, b"<html>hello</html>")),
    ("empty", answer(200, b"")),
    ("a list", answer(200, [])),
    ("no id token", answer(200, {"access_token": "a.b.c", "expires_in": 1})),
    ("an id token nobody can read", answer(200, {"access_token": "a.b.c", "id_token": "x"})),
    ("a token that would break the header", answer(200, {"access_token": "a\r\nX: y", "id_token": "x"})),
    ("429", answer(429, b"", {"Retry-After": "7"})),
    ("closed", provider.close),
    ("reset", provider.reset),
    ("silence", provider.silence),
]


@pytest.mark.parametrize("act", [act for _, act in TROUBLES], ids=[name for name, _ in TROUBLES])
def test_nothing_is_sent_while_the_token_endpoint_fails(act: Act) -> None:
    with client_setup(read_timeout=0.3) as it:
        it.server.token_acts.append(act)
        got = it.send()

        assert isinstance(got, Unsent)
        assert it.server.sends == []
        assert isinstance(it.send(), Accepted), "and the next one gets its token"


def test_failed_token_request_fails_for_all_waiting_calls() -> None:
    with client_setup(read_timeout=0.5) as it:
        it.server.token_acts.extend([provider.silence] * 20)
        answers = all_at_once(20, it.send)

        assert [type(got) for got in answers] == [Unsent] * 20
        assert len(it.server.token_requests) < 5


def test_user_id_that_changes_is_followed() -> None:
    with client_setup() as it:
        it.send()
        it.server.user = "someone/else"
        it.server.revoke()
        it.send()

        assert it.server.sends[-1].path == "/cpaas/smsmessaging/v1/someone%2Felse/outbound/default/requests"


def test_redirected_token_request_blocks_the_account() -> None:
    with client_setup() as it:
        it.server.token_acts.append(answer(302, b"", {"Location": "http://127.0.0.1:1/"}))
        got = it.send()

        assert isinstance(got, Blocked)
        assert it.client.problem == "the provider redirects: the base URL may be wrong (302)"


def test_no_token_is_requested_without_remaining_time() -> None:
    with client_setup(total_timeout=5.0) as it:
        got = it.client.send(submission(), until=SystemClock().monotonic() + 4.9)

        assert isinstance(got.answer, Unsent)
        assert it.server.connections == 0


@pytest.mark.parametrize("late", ["for a new token", "for the call again"])
def test_call_refused_for_its_token_is_an_attempt_without_time_for_a_repeat(late: str) -> None:
    clock = HandClock()
    with client_setup(clock=clock, total_timeout=5.0) as it:

        def time_flies(peer: provider.Peer, act: Act) -> bool:
            clock.pass_by(4)
            return act(peer)

        renewed = answer(200, it.server.new_token())
        if late == "for a new token":
            it.server.acts.append(lambda peer: time_flies(peer, answer(401, b"")))
        else:
            it.send()
            it.server.revoke()
            it.server.token_acts.append(lambda peer: time_flies(peer, renewed))
        got = it.client.send(submission(), until=clock.monotonic() + 8)

        assert isinstance(got.answer, Unsent)
        assert (got.answer.error.name, got.answer.error.http_status) == ("oauth", 401)
        assert got.attempts == 1
        assert it.client.problem is None


def test_attempt_without_a_token_counts_like_one_without_a_connection() -> None:
    with client_setup() as it:
        it.server.token_acts.append(answer(503, b""))
        got = it.client.send(submission(), until=1e12)

        assert isinstance(got.answer, Unsent)
        assert (got.attempts, it.server.sends) == (1, [])


def test_unprovisioned_account_is_reported_until_a_message_is_sent() -> None:
    with client_setup() as it:
        it.server.acts.append(answer(403, fault("policyException", "POL1009", "%1", [provider.SENDER])))
        it.send()
        while_blocked = it.client.problem
        it.server.acts.append(answer(200, {"smsThreadList": {}}))
        it.client.probe()
        after_reading = it.client.problem
        it.send()

        assert while_blocked == "the account is not provisioned or suspended (POL1009)"
        assert after_reading == while_blocked
        assert it.client.problem is None
