"""Bugs of the provider's SDKs (wire reference 10) that no other test of the client covers.

`test_cpaas_*` and `test_provider_errors` cover the others.
"""

from __future__ import annotations

import pytest

from bridge.domain.answers import Blocked, Refused
from bridge.ports.provider_errors import CpaasError, Unauthorized
from tests.fakes.provider_server import answer, fault
from tests.unit.cpaas_setup import client_setup, submission


def refusal(body: object, status: int = 400) -> Refused:
    """Return the result of a send that is refused with `body`."""
    with client_setup() as it:
        it.server.acts.append(answer(status, body))
        got = it.send()
    assert isinstance(got, Refused)
    return got


def test_bad_credentials_are_reported_and_no_call_is_made_without_a_token() -> None:
    with client_setup() as it:
        it.server.token_acts.extend([answer(401, {"error": "invalid_client"})] * 2)
        got = it.send()

        assert isinstance(got, Blocked)
        with pytest.raises(Unauthorized):
            it.client.subscriptions.list()
        assert (it.server.requests, it.server.unauthorized) == ([], 0)


@pytest.mark.parametrize(
    "inside",
    [{}, {"resourceURL": "x"}, {"subscription": []}, {"subscription": None}, {"subscription": "none"}],
)
def test_no_subscriptions_are_an_empty_list(inside: dict[str, object]) -> None:
    with client_setup() as it:
        it.server.acts.append(answer(200, {"subscriptionList": inside}))

        assert it.client.subscriptions.list() == ()


def test_falsy_value_stays_in_the_body() -> None:
    with client_setup() as it:
        it.send(message="0")
        it.server.acts.append(answer(201, {"notificationChannel": {"callbackURL": "wh-1"}}))
        it.client.channels.create(webhook_url="", authorization="")

        assert b'"message":"0"' in it.server.sends[0].body
        assert b'"x-webhookURL":"","x-authorization":""' in it.server.requests[1].body


def test_two_accounts_in_one_process_are_independent() -> None:
    with client_setup(client_id="one") as one, client_setup(client_id="two") as two:
        one.server.user = "user-one"
        two.server.user = "user-two"
        one.send()
        two.send()

        assert "/user-one/" in one.server.sends[0].path
        assert "/user-two/" in two.server.sends[0].path


def test_user_id_in_any_alphabet_is_read_from_the_token() -> None:
    with client_setup() as it:
        it.server.user = "ünser~größter/Künde?"
        it.send()

        assert it.server.sends[0].path.split("/")[4] == "%C3%BCnser~gr%C3%B6%C3%9Fter%2FK%C3%BCnde%3F"


def test_sender_is_never_replaced_by_the_default() -> None:
    with client_setup() as it:
        it.send(sender_address="+16137009999")

        assert "/outbound/+16137009999/" in it.server.sends[0].path
        with pytest.raises(ValueError, match="path"):
            it.client.send(submission(sender_address=""), until=1e12)


@pytest.mark.parametrize("status", [400, 500])
def test_failed_channel_or_subscription_call_raises(status: int) -> None:
    with client_setup() as it:
        it.server.acts.extend([answer(status, fault("serviceException", "SVC0002"))] * 2)

        with pytest.raises(CpaasError, match="SVC0002"):
            it.client.channels.create(webhook_url="https://x.example/", authorization=None)
        with pytest.raises(CpaasError):
            it.client.subscriptions.delete("f179f10b")
