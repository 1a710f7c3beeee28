"""History, subscriptions and channels of the provider: requests, responses and failures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.adapters.cpaas.values import ProviderMessage, ProviderThread, ThreadMessages, Threads
from bridge.ports.provider_errors import (
    CallRefused,
    CpaasError,
    NotFound,
    Unauthorized,
    Unreachable,
    Unreadable,
)
from tests.fakes import provider_server as provider
from tests.fakes.provider_server import SENDER, USER, answer, fault
from tests.unit.cpaas_setup import NUMBER, client_setup

if TYPE_CHECKING:
    from tests.fakes.provider_server import Act

S = f"/cpaas/smsmessaging/v1/{USER}"
N = f"/cpaas/notificationchannel/v1/{USER}/channels"
THREAD = {
    "remoteAddress": NUMBER,
    "localAddress": SENDER,
    "threadDetails": {"lastMessageTime": 1545913541188, "length": 1, "lastText": "a text message", "new": 0},
    "resourceURL": f"{S}/remoteAddresses/{NUMBER}/localAddresses/{SENDER}",
}
SUBSCRIPTION = {
    "callbackReference": {"notifyURL": "wh-1"},
    "clientCorrelator": 987,
    "destinationAddress": SENDER,
    "resourceURL": f"{S}/inbound/subscriptions/f179f10b-e846",
}
CHANNEL = {
    "callbackURL": "wh-72b43d88",
    "channelData": {"x-webhookURL": "https://x.example/", "x-authorization": "canary"},
    "channelType": "Webhooks",
    "clientCorrelator": "c",
    "resourceURL": f"{N}/wh-72b43d88",
}


def message(number: int, **changes: object) -> dict[str, object]:
    """Return a message of the history."""
    given = {"type": "Outbound", "messageId": f"SM{number}", "message": "hi", "status": "DeliveredToNetwork"}
    return given | {"dateTime": 1545913541} | changes


def page(*messages: object, **more: object) -> Act:
    """Return an answer with a page of messages."""
    return answer(200, {"smsMessageList": {"smsMessage": list(messages), "resourceURL": "x", **more}})


def test_threads_are_read_as_a_list_or_as_one() -> None:
    with client_setup() as it:
        it.server.acts.extend(
            [
                answer(200, {"smsThreadList": {"smsThread": [THREAD, {"odd": 1}]}}),
                answer(200, {"smsThread": THREAD}),
            ]
        )
        expected = ProviderThread(
            remote_address=NUMBER, local_address=SENDER, last_message_at=1545913541.188, length=1
        )

        expected_threads = Threads(threads=(expected,), ended=True, readable=False, complete=False)
        assert it.client.history.threads() == expected_threads
        assert it.client.history.threads(NUMBER) == Threads(
            threads=(expected,), ended=True, readable=True, complete=True
        )
        assert [request.path.partition("?")[0] for request in it.server.requests] == [
            f"{S}/remoteAddresses",
            f"{S}/remoteAddresses/{NUMBER}",
        ]


def listing(*threads: object, **more: object) -> Act:
    """Return an answer with a page of threads."""
    return answer(200, {"smsThreadList": {"smsThread": list(threads), **more}})


@pytest.mark.parametrize(
    ("pages", "count"),
    [
        ([listing(*[THREAD for _ in range(200)])], 200),
        ([listing(THREAD, "no object")], 1),
        ([listing(THREAD, next="a"), listing(THREAD)], 2),
        ([listing(THREAD, next="a"), listing(THREAD, next="a")], 2),
        ([listing(THREAD, next="a"), answer(404)], 1),
        ([listing(THREAD, next=str(number)) for number in range(60)], 50),
    ],
    ids=[
        "full without a pointer",
        "no thread",
        "two pages, between which a thread may move",
        "a pointer comes again",
        "gone in the middle",
        "no end",
    ],
)
def test_list_of_threads_that_may_lack_one_is_incomplete(pages: list[Act], count: int) -> None:
    with client_setup() as it:
        it.server.acts.extend(pages)
        listed = it.client.history.threads(NUMBER)

        assert len(listed.threads) == count
        assert not listed.complete


def test_number_without_threads_has_a_complete_list_of_none() -> None:
    with client_setup() as it:
        it.server.acts.append(answer(404))

        assert it.client.history.threads(NUMBER) == Threads(
            threads=(), ended=True, readable=True, complete=True, exists=False, vouched=False
        )


def test_list_of_all_threads_is_there_also_when_it_is_empty() -> None:
    with client_setup() as it:
        it.server.acts.append(answer(404))

        with pytest.raises(Unreachable):
            it.client.history.threads()


def test_list_of_threads_is_read_only_as_far_as_needed() -> None:
    with client_setup() as it:
        it.server.acts.extend([listing(THREAD, next=str(number)) for number in range(3)])
        listed = it.client.history.threads(enough=lambda thread: thread.length == 1)

        assert len(listed.threads) == len(it.server.requests) == 1
        assert not listed.complete


def test_history_is_read_page_by_page() -> None:
    with client_setup() as it:
        it.server.acts.extend(
            [page(message(1), next="p/2"), page(message(2, dateTime=1545913541188, type="INBOUND"))]
        )
        history = it.client.history.messages(NUMBER, SENDER)

        assert history.complete
        assert history.messages == (
            ProviderMessage(
                message_id="SM1",
                direction="outbound",
                text="hi",
                status="DeliveredToNetwork",
                remote_address=NUMBER,
                local_address=SENDER,
                date_time=1545913541,
                at=1545913541.0,
            ),
            ProviderMessage(
                message_id="SM2",
                direction="inbound",
                text="hi",
                status="DeliveredToNetwork",
                remote_address=NUMBER,
                local_address=SENDER,
                date_time=1545913541188,
                at=1545913541.188,
            ),
        )
        assert [request.path.partition("?")[2] for request in it.server.requests] == [
            "max=200",
            "max=200&next=p%2F2",
        ]


def test_repeated_page_pointer_ends_the_history_as_incomplete() -> None:
    with client_setup() as it:
        it.server.acts.extend(
            [page(message(1), next="a"), page(message(2), next="b"), page(message(3), next="a")]
        )
        history = it.client.history.messages(NUMBER, SENDER)

        assert len(history.messages) == len(it.server.requests) == 3
        assert not history.complete


@pytest.mark.parametrize(
    "act",
    [
        page(*[message(number) for number in range(200)]),
        page(message(1), {"type": "Outbound"}),
        page(message(1), "no object"),
    ],
    ids=["full without a pointer", "a message without an id", "no message"],
)
def test_history_that_may_lack_something_is_incomplete(act: Act) -> None:
    with client_setup() as it:
        it.server.acts.append(act)

        assert not it.client.history.messages(NUMBER, SENDER).complete


def test_endless_history_is_given_up() -> None:
    with client_setup() as it:
        it.server.acts.extend([page(message(number), next=str(number)) for number in range(99)])
        history = it.client.history.messages(NUMBER, SENDER)

        assert not history.complete
        assert len(it.server.requests) == 50


@pytest.mark.parametrize(
    ("body", "vouched"),
    [
        (b"", False),
        ({}, False),
        ({"error": "Not Found", "message": "no route"}, False),
        (fault("serviceException", "SVC0004"), True),
        (fault("policyException", "POL0001"), True),
    ],
)
def test_unknown_pair_has_an_empty_history_only_with_the_providers_envelope(
    body: object, *, vouched: bool
) -> None:
    with client_setup() as it:
        it.server.acts.append(answer(404, body))

        assert it.client.history.messages(NUMBER, SENDER) == ThreadMessages(
            messages=(), complete=True, exists=False, vouched=vouched
        )


def test_404_of_a_proxy_is_not_an_empty_history() -> None:
    with client_setup() as it:
        it.server.acts.append(answer(404, b"<html>not here</html>"))

        with pytest.raises(Unreachable):
            it.client.history.messages(NUMBER, SENDER)


@pytest.mark.parametrize("body", [b"", b"<html>", {"something": "else"}, []])
def test_response_without_a_list_is_not_an_empty_history(body: object) -> None:
    with client_setup() as it:
        it.server.acts.append(answer(200, body))

        with pytest.raises(Unreadable):
            it.client.history.messages(NUMBER, SENDER)


@pytest.mark.parametrize("time", [None, "soon", True, 15459135467, -1, 10**30])
def test_absurd_time_is_kept_unchanged(time: object) -> None:
    with client_setup() as it:
        it.server.acts.append(page(message(1, dateTime=time)))
        (found,) = it.client.history.messages(NUMBER, SENDER).messages

        assert found.date_time == time


def test_message_is_fetched_with_its_status_and_deleted() -> None:
    with client_setup() as it:
        it.server.acts.extend(
            [
                answer(200, {"smsMessage": message(1)}),
                answer(200, {"status": "DeliveredToTerminal"}),
                answer(204),
            ]
        )
        history = it.client.history
        found = history.message(NUMBER, SENDER, "SM1")
        status = history.status(NUMBER, SENDER, "SM1")
        history.delete_message(NUMBER, SENDER, "SM1")
        path = f"{S}/remoteAddresses/{NUMBER}/localAddresses/{SENDER}/messages/SM1"

        assert (found.message_id, status) == ("SM1", "DeliveredToTerminal")
        assert [(request.method, request.path) for request in it.server.requests] == [
            ("GET", path),
            ("GET", f"{path}/status"),
            ("DELETE", path),
        ]


@pytest.mark.parametrize("status", [204, 200, 404])
def test_thread_is_deleted_or_was_not_there(status: int) -> None:
    with client_setup() as it:
        it.server.acts.append(answer(status))
        it.client.history.delete_thread(NUMBER, SENDER)

        assert it.server.requests[0].path == f"{S}/remoteAddresses/{NUMBER}/localAddresses/{SENDER}"


def test_deletion_with_an_id_of_another_path_is_not_requested() -> None:
    with client_setup() as it:
        for part in ("", ".", ".."):
            with pytest.raises(ValueError, match="path"):
                it.client.history.delete_message(NUMBER, SENDER, part)

        assert it.server.requests == []


def test_subscription_is_made_for_a_number_or_for_the_default_one() -> None:
    with client_setup(correlator="bridge-1") as it:
        it.server.acts.extend([answer(201, {"subscription": SUBSCRIPTION})] * 2)
        made = it.client.subscriptions.create(notify="wh-1", number=SENDER)
        it.client.subscriptions.create(notify="wh-1")

        assert (made.id, made.notify, made.destination_address, made.correlator) == (
            "f179f10b-e846",
            "wh-1",
            SENDER,
            "987",
        )
        assert [request.json for request in it.server.requests] == [
            {
                "subscription": {
                    "callbackReference": {"notifyURL": "wh-1"},
                    "clientCorrelator": "bridge-1",
                    "destinationAddress": SENDER,
                }
            },
            {"subscription": {"callbackReference": {"notifyURL": "wh-1"}, "clientCorrelator": "bridge-1"}},
        ]


def test_subscriptions_are_listed_read_and_deleted() -> None:
    with client_setup() as it:
        it.server.acts.extend(
            [
                answer(200, {"subscriptionList": {"subscription": [SUBSCRIPTION]}}),
                answer(200, {"subscription": SUBSCRIPTION}),
                answer(204),
                answer(404, b""),
            ]
        )
        subscriptions = it.client.subscriptions
        (listed,) = subscriptions.list()

        assert subscriptions.get(listed.id) == listed
        subscriptions.delete(listed.id)
        subscriptions.delete(listed.id)
        assert it.server.requests[-1].path == f"{S}/inbound/subscriptions/f179f10b-e846"


def test_channel_is_made_with_the_authorization_of_its_notifications() -> None:
    with client_setup(correlator="bridge-1") as it:
        it.server.acts.append(answer(201, {"notificationChannel": CHANNEL}))
        made = it.client.channels.create(webhook_url="https://x.example/", authorization="Bearer s")

        assert (made.id, made.callback, made.type, made.authorization) == (
            "wh-72b43d88",
            "wh-72b43d88",
            "webhooks",
            "canary",
        )
        assert "canary" not in repr(made)
        assert it.server.requests[0].json == {
            "notificationChannel": {
                "channelData": {"x-webhookURL": "https://x.example/", "x-authorization": "Bearer s"},
                "channelType": "webhooks",
                "clientCorrelator": "bridge-1",
            }
        }


def test_channels_are_listed_read_and_deleted() -> None:
    with client_setup() as it:
        it.server.acts.extend(
            [
                answer(
                    200, {"notificationChannelList": {"notificationChannel": [CHANNEL], "resourceURL": "x"}}
                ),
                answer(200, {"notificationChannel": CHANNEL}),
                answer(204),
            ]
        )
        (listed,) = it.client.channels.list()

        assert it.client.channels.get(listed.id) == listed
        it.client.channels.delete(listed.id)
        assert it.server.requests[-1].path == f"{N}/wh-72b43d88"


FAILURES: list[tuple[Act, type[CpaasError], int | None]] = [
    (answer(400, fault("serviceException", "SVC0002", f"Invalid {NUMBER}")), CallRefused, 400),
    (answer(403, fault("policyException", "POL0001")), CallRefused, 403),
    (answer(403, fault("policyException", "POL1010")), Unauthorized, 403),
    (answer(404, fault("serviceException", "SVC0004")), NotFound, 404),
    (answer(302, b"", {"Location": "/x"}), Unauthorized, 302),
    (answer(429, b""), Unreachable, 429),
    (answer(500, b""), Unreachable, 500),
    (answer(503, b"<html>"), Unreachable, 503),
    (provider.close, Unreachable, None),
    (provider.reset, Unreachable, None),
]


@pytest.mark.parametrize(("act", "kind", "status"), FAILURES)
def test_each_failure_has_its_class_and_contains_no_number(
    act: Act, kind: type[CpaasError], status: int | None
) -> None:
    with client_setup() as it:
        it.server.acts.append(act)
        with pytest.raises(CpaasError) as caught:
            it.client.history.status(NUMBER, SENDER, "SM1")

        assert type(caught.value) is kind
        assert caught.value.error.http_status == status
        assert NUMBER not in str(caught.value)
