"""What the provider's own SDKs get wrong (wire reference 10), and what this client does instead."""

from __future__ import annotations

import threading

import pytest

from bridge.domain.answers import Accepted, Ambiguous, Blocked, Refused, Unsent
from bridge.ports.provider_errors import CpaasError, NotFound, Unauthorized, Unreachable
from tests.fakes import provider_server as provider
from tests.fakes.provider_server import MESSAGE_ID, SENDER, USER, answer, fault
from tests.unit.cpaas_setup import NUMBER, HandClock, all_at_once, elapsed, rig, submission

INVALID = "Invalid input value for message part %1"
SUBSCRIPTION = {
    "callbackReference": {"notifyURL": "wh-1"},
    "destinationAddress": SENDER,
    "resourceURL": f"/cpaas/smsmessaging/v1/{USER}/inbound/subscriptions/f179f10b",
}
MESSAGE = {
    "type": "Inbound",
    "messageId": "SM1",
    "message": "hi",
    "dateTime": 1545913541,
    "senderAddress": NUMBER,
}


def refusal(body: object, status: int = 400) -> Refused:
    """Return what a send makes of a refusal with `body`."""
    with rig() as it:
        it.server.acts.append(answer(status, body))
        got = it.send()
    assert isinstance(got, Refused)
    return got


# All of them


def test_no_call_waits_for_ever() -> None:
    with rig(read_timeout=0.3) as it:
        it.server.acts.append(provider.silence)

        assert elapsed(it.send) < 5


def test_a_401_is_repeated_with_another_token() -> None:
    with rig() as it:
        it.send()
        it.server.revoke()

        assert isinstance(it.send(), Accepted)


def test_a_429_is_no_error_and_its_retry_after_is_read() -> None:
    with rig() as it:
        it.server.acts.append(answer(429, b"", {"Retry-After": "17"}))
        got = it.send()

        assert isinstance(got, Unsent)
        assert got.retry_after == 17.0


def test_the_delivery_status_of_a_send_is_looked_at() -> None:
    with rig() as it:
        it.server.acts.append(answer(201, provider.accepted("DeliveryImpossible")))
        got = it.send()

        assert isinstance(got, Accepted)
        assert got.delivery_status == "DeliveryImpossible"


def test_a_channel_is_given_an_authorization() -> None:
    with rig() as it:
        it.server.acts.append(answer(201, {"notificationChannel": {"callbackURL": "wh-1"}}))
        it.client.channels.create(webhook_url="https://x.example/", authorization="Bearer s")

        assert b'"x-authorization":"Bearer s"' in it.server.requests[0].body


def test_a_subscription_makes_no_channel() -> None:
    with rig() as it:
        it.server.acts.append(answer(201, {"subscription": SUBSCRIPTION}))
        it.client.subscriptions.create(notify="wh-1", number=SENDER)

        assert [request.path.rpartition("/")[2] for request in it.server.requests] == ["subscriptions"]


def test_a_send_keeps_its_message_id() -> None:
    with rig() as it:
        got = it.send()

        assert isinstance(got, Accepted)
        assert got.message_id == MESSAGE_ID


# Python


def test_the_status_of_an_error_is_not_lost() -> None:
    assert refusal(fault("serviceException", "SVC0002", INVALID, ["address"]), 415).error.http_status == 415


def test_an_error_without_variables_keeps_its_text() -> None:
    assert refusal(fault("serviceException", "SVC0002", INVALID)).error.message == INVALID


def test_braces_in_a_text_are_text() -> None:
    assert refusal(fault("serviceException", "SVC0002", "a {} {0} %1", ["x"])).error.message == "a {} {0} x"


def test_variables_are_filled_in_by_their_number() -> None:
    body = fault("serviceException", "SVC0003", "%2 then %1, %1", ["one", "two"])

    assert refusal(body).error.message == "two then one, one"


def test_the_tenth_variable_is_not_the_first() -> None:
    variables = [f"v{number}" for number in range(1, 11)]

    assert refusal(fault("serviceException", "SVC0003", "%10 %1", variables)).error.message == "v10 v1"


def test_a_page_instead_of_json_crashes_nothing() -> None:
    with rig() as it:
        it.server.acts.append(answer(503, b"<html>sorry</html>"))

        assert isinstance(it.send(), Ambiguous)


def test_an_empty_429_says_what_it_is() -> None:
    with rig() as it:
        it.server.acts.append(answer(429, b""))
        got = it.send()

        assert isinstance(got, Unsent)
        assert (got.error.http_status, got.error.message) == (429, "Too Many Requests")


def test_bad_credentials_are_said_and_no_call_is_made_with_none() -> None:
    with rig() as it:
        it.server.token_acts.extend([answer(401, {"error": "invalid_client"})] * 2)
        got = it.send()

        assert isinstance(got, Blocked)
        with pytest.raises(Unauthorized):
            it.client.subscriptions.list()
        assert (it.server.requests, it.server.unauthorized) == ([], 0)


def test_a_subscription_that_is_read_has_its_id() -> None:
    with rig() as it:
        it.server.acts.append(answer(200, {"subscription": SUBSCRIPTION}))

        assert it.client.subscriptions.get("f179f10b").id == "f179f10b"


@pytest.mark.parametrize("inside", [{}, {"resourceURL": "x"}, {"subscription": []}, {"subscription": None}])
def test_no_subscriptions_are_an_empty_list(inside: dict[str, object]) -> None:
    with rig() as it:
        it.server.acts.append(answer(200, {"subscriptionList": inside}))

        assert it.client.subscriptions.list() == ()


def test_a_delete_without_a_body_is_a_delete() -> None:
    with rig() as it:
        it.server.acts.append(answer(204))
        it.client.history.delete_message(NUMBER, SENDER, "SM1")

        assert it.server.requests[0].method == "DELETE"


def test_a_single_thread_is_read_like_a_list_of_one() -> None:
    with rig() as it:
        it.server.acts.append(answer(200, {"smsThread": {"remoteAddress": NUMBER, "localAddress": SENDER}}))

        assert len(it.client.history.threads(NUMBER).threads) == 1


def test_a_channel_that_can_not_be_made_is_an_error_of_its_own() -> None:
    with rig() as it:
        it.server.acts.append(answer(400, fault("serviceException", "SVC0002")))

        with pytest.raises(CpaasError, match="SVC0002"):
            it.client.channels.create(webhook_url="https://x.example/", authorization=None)


def test_channels_can_be_listed() -> None:
    with rig() as it:
        it.server.acts.append(
            answer(200, {"notificationChannelList": {"notificationChannel": [{"callbackURL": "wh-1"}]}})
        )

        assert [channel.id for channel in it.client.channels.list()] == ["wh-1"]


def test_a_falsy_value_stays_in_the_body() -> None:
    with rig() as it:
        it.send(message="0")
        it.server.acts.append(answer(201, {"notificationChannel": {"callbackURL": "wh-1"}}))
        it.client.channels.create(webhook_url="", authorization="")

        assert b'"message":"0"' in it.server.sends[0].body
        assert b'"x-webhookURL":"","x-authorization":""' in it.server.requests[1].body


def test_the_token_call_says_who_calls() -> None:
    with rig() as it:
        it.send()

        assert it.server.token_requests[0].headers["x-cpaas-agent"].startswith("sms-bridge/")


def test_the_wall_clock_does_not_end_a_token() -> None:
    clock = HandClock(wall=4e9)
    with rig(clock=clock) as it:
        it.send()
        it.send()

        assert len(it.server.token_requests) == 1


# Node


def test_the_exception_id_is_read_from_the_answer() -> None:
    assert refusal(fault("policyException", "POL0001"), 403).error.exception_id == "POL0001"


def test_the_token_call_bears_no_token() -> None:
    with rig() as it:
        it.send()

        assert "authorization" not in it.server.token_requests[0].headers


def test_concurrent_sends_share_a_token() -> None:
    with rig() as it:
        it.server.token_delay = 0.05
        all_at_once(10, it.send)

        assert len(it.server.token_requests) == 1


def test_what_stands_beside_the_error_does_not_hide_it() -> None:
    body = {"link": [{"href": "x"}], **fault("serviceException", "SVC0002")}

    assert refusal(body).error.exception_id == "SVC0002"


# Ruby


def test_messages_of_a_thread_can_be_read() -> None:
    with rig() as it:
        it.server.acts.append(answer(200, {"smsMessageList": {"smsMessage": [MESSAGE]}}))

        assert [found.text for found in it.client.history.messages(NUMBER, SENDER).messages] == ["hi"]


def test_two_accounts_in_one_process_stay_apart() -> None:
    with rig(client_id="one") as one, rig(client_id="two") as two:
        one.server.user = "user-one"
        two.server.user = "user-two"
        one.send()
        two.send()

        assert "/user-one/" in one.server.sends[0].path
        assert "/user-two/" in two.server.sends[0].path


def test_an_oauth_error_is_no_success() -> None:
    with rig() as it:
        it.server.token_acts.append(answer(400, {"error": "invalid_grant", "error_description": "no"}))

        assert isinstance(it.send(), Blocked)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"text"', b"{", b"<html>"])
def test_no_body_of_an_error_crashes_the_client(body: bytes) -> None:
    with rig() as it:
        it.server.acts.append(answer(400, body))
        got = it.send()

    # Only an error of the provider's own form refuses a message.
    assert isinstance(got, Ambiguous)
    assert got.error.http_status == 400


def test_a_failed_unsubscribe_is_an_error() -> None:
    with rig() as it:
        it.server.acts.append(answer(500))

        with pytest.raises(Unreachable):
            it.client.subscriptions.delete("f179f10b")


# PHP


def test_a_token_lives_half_its_life_and_is_not_fetched_for_each_call() -> None:
    clock = HandClock()
    with rig(clock=clock) as it:
        for _ in range(5):
            it.send()
            clock.pass_by(2000)

        assert len(it.server.token_requests) == 1


def test_the_path_of_messages_has_its_slash() -> None:
    with rig() as it:
        it.client.history.messages(NUMBER, SENDER)

        assert it.server.requests[0].path.partition("?")[0].endswith(f"/localAddresses/{SENDER}/messages")


def test_a_whole_thread_can_be_deleted() -> None:
    with rig() as it:
        it.server.acts.append(answer(204))
        it.client.history.delete_thread(NUMBER, SENDER)

        assert it.server.requests[0].path.endswith(f"/localAddresses/{SENDER}")


def test_a_user_id_in_any_alphabet_is_read_from_the_token() -> None:
    with rig() as it:
        it.server.user = "ünser~größter/Künde?"
        it.send()

        assert it.server.sends[0].path.split("/")[4] == "%C3%BCnser~gr%C3%B6%C3%9Fter%2FK%C3%BCnde%3F"


# Java


def test_a_thread_keeps_its_connection() -> None:
    with rig() as it:
        before = threading.active_count()
        for _ in range(20):
            it.send()

        assert it.server.connections == 1
        assert threading.active_count() <= before + 1, "the provider's, for the one connection"


def test_a_policy_exception_is_read_as_a_service_exception_is() -> None:
    got = refusal(
        fault("policyException", "POL0001", "A policy error occurred. Error code is %1", ["7"]), 403
    )

    assert (got.error.name, got.error.message) == (
        "policyException",
        "A policy error occurred. Error code is 7",
    )


def test_a_text_where_an_array_is_documented_is_no_entry() -> None:
    with rig() as it:
        it.server.acts.append(answer(200, {"subscriptionList": {"subscription": "none"}}))

        assert it.client.subscriptions.list() == ()


# Node-RED


def test_a_sender_is_never_replaced_by_the_default() -> None:
    with rig() as it:
        it.send(sender_address="+16137009999")

        assert "/outbound/+16137009999/" in it.server.sends[0].path
        with pytest.raises(ValueError, match="path"):
            it.client.send(submission(sender_address=""), until=1e12)


def test_what_is_not_there_is_said() -> None:
    with rig() as it, pytest.raises(NotFound):
        it.client.history.status(NUMBER, SENDER, "SM404")
