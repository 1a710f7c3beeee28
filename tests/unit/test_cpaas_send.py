"""Sends: the request, the result of each response, and repeats."""

from __future__ import annotations

import threading
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.clock import SystemClock
from bridge.adapters.cpaas.account import CpaasAccount
from bridge.adapters.cpaas.retry import RetryPolicy
from bridge.domain.answers import Accepted, Ambiguous, Blocked, Refused, Unsent
from tests.fakes.clock import HandClock
from tests.fakes.provider_server import MESSAGE_ID, SENDER, USER, accepted, answer, fault
from tests.unit.cpaas_setup import NUMBER, SECRET, TEXT, account, client_setup, elapsed, submission

if TYPE_CHECKING:
    from tests.fakes import provider_server as provider

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#: The production retry policy, without sleeps.
REPEATS = RetryPolicy(sleeps=False)


def test_send_equals_that_of_the_sdks() -> None:
    with client_setup(correlator="bridge-1") as it:
        it.send(sender_address="+16137001234", message="Hi € 😀", traceparent=TRACE)
        (request,) = it.server.sends

        assert (request.method, request.path) == (
            "POST",
            f"/cpaas/smsmessaging/v1/{USER}/outbound/+16137001234/requests",
        )
        assert request.json == {
            "outboundSMSMessageRequest": {
                "address": [NUMBER],
                "clientCorrelator": "bridge-1",
                "outboundSMSTextMessage": {"message": "Hi € 😀"},
            }
        }
        assert request.headers["content-type"] == "application/json"
        assert request.headers["x-cpaas-agent"] == f"sms-bridge/{version('sms-bridge')}"
        assert request.headers["traceparent"] == TRACE


@pytest.mark.parametrize("value", [None, "", "x", f"{TRACE}\r\nX-Evil: 1", TRACE.upper()])
def test_invalid_trace_context_does_not_become_a_header(value: str | None) -> None:
    with client_setup() as it:
        got = it.send(traceparent=value)

        assert isinstance(got, Accepted)
        assert {"traceparent", "x-evil"}.isdisjoint(it.server.sends[0].headers)


@pytest.mark.parametrize(
    ("sender", "part"),
    [
        ("default", "default"),
        ("sip:+16131234567@domain", "sip%3A+16131234567%40domain"),
        ("a/../b?c#d", "a%2F..%2Fb%3Fc%23d"),
    ],
)
def test_sender_stays_one_part_of_the_path(sender: str, part: str) -> None:
    with client_setup() as it:
        it.send(sender_address=sender)

        assert it.server.sends[0].path.split("/")[-2] == part


def test_lone_surrogate_can_be_sent() -> None:
    with client_setup() as it:
        assert isinstance(it.send(message="\ud83d"), Accepted)


def test_correlator_of_an_instance_is_constant() -> None:
    with client_setup() as it:
        it.send()
        it.send(command_id="cmd-2", index=3)

        assert len({_correlator(request) for request in it.server.sends}) == 1


def test_correlator_of_a_submission_is_unique_and_constant() -> None:
    with client_setup(correlator_mode="command") as it:
        for command_id, index in [("a", 0), ("a", 0), ("a", 1), ("b", 0), (None, 0), (None, 0)]:
            it.send(command_id=command_id, index=index)
        first, again, *others = [_correlator(request) for request in it.server.sends]

        assert first == again
        assert len({first, *others}) == 5


def _correlator(request: provider.Request) -> object:
    inside = request.json["outboundSMSMessageRequest"]
    assert isinstance(inside, dict)
    return inside["clientCorrelator"]


def test_accepted_send_names_its_message_and_its_real_sender() -> None:
    with client_setup() as it:
        assert it.send() == Accepted(
            message_id=MESSAGE_ID,
            sender_address=SENDER,
            delivery_status="DeliveredToNetwork",
            http_status=201,
        )


SVC = fault("serviceException", "SVC0002", "Invalid input value for message part %1", ["address"])
#: One of each kind; `test_provider_errors.py` has all of them.
STATUSES: list[tuple[int, object, dict[str, str], type]] = [
    (200, accepted(), {}, Accepted),
    (201, b"<html>", {}, Ambiguous),
    (204, b"", {}, Ambiguous),
    (307, b"", {}, Blocked),
    (400, SVC, {}, Refused),
    (400, b"<html>", {}, Ambiguous),
    (407, b"<html>", {"Proxy-Authenticate": "Basic"}, Unsent),
    (426, b"<html>", {"Connection": "upgrade", "Upgrade": "HTTP/2.0"}, Unsent),
    (429, b"", {}, Unsent),
    (503, b"", {}, Ambiguous),
    (503, b"", {"Retry-After": "1"}, Unsent),
    (503, fault("serviceException", "SVC1000"), {}, Unsent),
]


@pytest.mark.parametrize(("status", "body", "headers", "kind"), STATUSES)
def test_each_status_has_one_answer_and_one_call(
    status: int, body: object, headers: dict[str, str], kind: type
) -> None:
    with client_setup() as it:
        it.server.acts.append(answer(status, body, headers))
        got = it.send()

        assert type(got) is kind
        assert len(it.server.sends) == 1


def test_refused_send_is_repeated_until_it_is_accepted() -> None:
    with client_setup(retry=REPEATS) as it:
        it.server.acts.extend([answer(429, b""), answer(503, b"", {"Retry-After": "0"})])
        got = it.client.send(submission(), until=1e12)

        assert isinstance(got.answer, Accepted)
        assert got.attempts == 3


@pytest.mark.parametrize("status", [400, 408, 500, 503])
def test_other_results_are_not_repeated(status: int) -> None:
    with client_setup(retry=REPEATS) as it:
        it.server.acts.append(answer(status, SVC))
        got = it.client.send(submission(), until=1e12)

        assert not isinstance(got.answer, Accepted)
        assert (got.attempts, len(it.server.sends)) == (1, 1)


def test_repeats_end_in_the_last_answer() -> None:
    with client_setup(retry=REPEATS) as it:
        it.server.acts.extend([answer(429, b"")] * 20)
        got = it.client.send(submission(), until=1e12)

        assert isinstance(got.answer, Unsent)
        assert got.attempts == len(it.server.sends) == REPEATS.attempts


def test_wait_longer_than_the_budget_is_returned_at_once() -> None:
    with client_setup(retry=RetryPolicy(in_process=5)) as it:
        it.server.acts.append(answer(429, b"", {"Retry-After": "6"}))
        got = it.client.send(submission(), until=1e12)

        assert isinstance(got.answer, Unsent)
        assert (got.answer.retry_after, got.answer.throttled, got.attempts) == (6.0, True, 1)


def test_retry_after_of_the_provider_is_observed() -> None:
    with client_setup(retry=RetryPolicy(base=0.001)) as it:
        it.server.acts.append(answer(429, b"", {"Retry-After": "0.3"}))
        took = elapsed(it.send)

        assert 0.3 <= took < 3
        assert len(it.server.sends) == 2


def test_stop_cuts_the_wait_and_nothing_more_is_sent() -> None:
    with client_setup(retry=RetryPolicy(in_process=60)) as it:
        it.server.acts.append(answer(429, b"", {"Retry-After": "30"}))
        stop = threading.Timer(0.2, it.stopping.set)
        stop.start()
        took = elapsed(it.send)
        stop.join()

        assert took < 10
        assert len(it.server.sends) == 1


def test_repeat_that_could_outlast_the_deadline_is_not_started() -> None:
    with client_setup(retry=RetryPolicy(base=0.001), total_timeout=5.0) as it:
        it.server.acts.extend([answer(429, b"", {"Retry-After": "1"})] * 3)
        got = it.client.send(submission(), until=SystemClock().monotonic() + 5.5)

        assert got.attempts == 1


def test_no_call_is_made_and_no_attempt_counted_without_remaining_time() -> None:
    with client_setup(retry=REPEATS, total_timeout=5.0) as it:
        it.send()
        got = it.client.send(submission(), until=SystemClock().monotonic() + 4.9)

        assert isinstance(got.answer, Unsent)
        assert (got.attempts, len(it.server.sends)) == (0, 1)


def taking(clock: HandClock, seconds: float, act: provider.Act) -> provider.Act:
    """Return an act before which so much time passes."""

    def take(peer: provider.Peer) -> bool:
        clock.pass_by(seconds)
        return act(peer)

    return take


def test_expired_submission_is_not_sent_and_one_that_expires_in_a_moment_is() -> None:
    clock = HandClock()
    with client_setup(clock=clock, total_timeout=5.0) as it:
        late = it.client.send(submission(expires_at=clock.now() - 0.001), until=1e12)
        in_time = it.client.send(submission(expires_at=clock.now()), until=1e12)

        assert isinstance(late.answer, Unsent)
        assert (late.attempts, in_time.attempts, len(it.server.sends)) == (0, 1, 1)


def test_submission_that_expires_during_the_token_request_is_not_sent() -> None:
    clock = HandClock()
    with client_setup(clock=clock, retry=REPEATS) as it:
        it.server.token_acts.append(taking(clock, 4, answer(200, it.server.new_token())))
        got = it.client.send(submission(expires_at=clock.now() + 3), until=1e12)

        assert isinstance(got.answer, Unsent)
        assert (got.attempts, it.server.sends) == (0, [])


def test_submission_that_expires_before_its_repeat_is_not_repeated() -> None:
    clock = HandClock()
    with client_setup(clock=clock, retry=REPEATS) as it:
        it.server.acts.append(taking(clock, 4, answer(429, b"")))
        got = it.client.send(submission(expires_at=clock.now() + 3), until=1e12)

        assert isinstance(got.answer, Unsent)
        assert (got.attempts, len(it.server.sends)) == (1, 1)


def test_repeat_without_remaining_time_is_not_an_attempt() -> None:
    clock = HandClock()
    with client_setup(clock=clock, retry=REPEATS, total_timeout=5.0) as it:
        # The first token expires during its call, and the next one arrives too late.
        it.server.token_lifetime = 1
        first, second = (answer(200, it.server.new_token()) for _ in range(2))
        it.server.acts.append(taking(clock, 1, answer(429, b"")))
        it.server.token_acts.extend([first, taking(clock, 4, second)])
        got = it.client.send(submission(), until=clock.monotonic() + 9)

        assert isinstance(got.answer, Unsent)
        assert got.answer.throttled, "it is the response of the first call"
        assert (got.attempts, len(it.server.sends), len(it.server.token_requests)) == (1, 1, 2)


def test_refused_connection_counts_its_attempts() -> None:
    with client_setup(retry=REPEATS, base_url="http://127.0.0.1:1") as it:
        got = it.client.send(submission(), until=1e12)

        assert isinstance(got.answer, Unsent)
        assert got.attempts == REPEATS.attempts


def test_date_in_retry_after_is_read_by_the_wall_clock() -> None:
    with client_setup(clock=HandClock(wall=784_111_777.0)) as it:
        it.server.acts.append(answer(429, b"", {"Retry-After": "Sun, 06 Nov 1994 08:50:07 GMT"}))
        got = it.send()

        assert isinstance(got, Unsent)
        assert got.retry_after == 30.0


def test_16_threads_send_at_once_and_keep_their_connections() -> None:
    with client_setup() as it:
        everyone_is_in = threading.Barrier(16)

        def send_some() -> None:
            everyone_is_in.wait(10)
            for _ in range(10):
                it.send()

        threads = [threading.Thread(target=send_some) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert len(it.server.sends) == 160
        assert it.server.connections == 16


def test_secrets_are_not_shown() -> None:
    shown = repr(
        account(
            "http://provider.invalid",
            email="a@b.example",
            password="canary-password",
            proxy="http://u:canary@p",
        )
    )

    assert SECRET not in shown
    assert "canary" not in shown
    assert TEXT not in repr(submission())


@pytest.mark.parametrize(
    "base_url", ["provider.invalid", "ftp://x", "http://", "http://u:p@x", "http://x?y", ""]
)
def test_invalid_base_url_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        account(base_url)


def test_account_without_credentials_is_refused() -> None:
    with pytest.raises(ValueError, match="client_secret"):
        CpaasAccount(base_url="http://x", client_id="x", email="only")
