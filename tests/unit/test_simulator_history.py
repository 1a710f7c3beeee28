"""The simulator's history: threads, messages, pages, lag, cap, units and deletes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests

from bridge.simulator import Simulator
from tests.fakes.clock import HandClock
from tests.unit.simulated import NUMBER, OTHER, REMOTE, Client

if TYPE_CHECKING:
    from collections.abc import Iterator

THREAD = f"/{REMOTE}/localAddresses/{NUMBER}"


@pytest.fixture
def clock() -> HandClock:
    return HandClock(1_700_000_000.0)


@pytest.fixture
def client(clock: HandClock) -> Iterator[Client]:
    with Simulator(clock=clock) as simulator, Client(simulator.url) as client:
        yield client


def texts(answer: requests.Response) -> list[str]:
    return [message["message"] for message in answer.json()["smsMessageList"]["smsMessage"]]


def send_at_intervals(client: Client, clock: HandClock, *messages: str) -> None:
    for message in messages:
        client.send(message)
        clock.pass_by(10)


def test_messages_in_and_out_are_in_the_thread_the_newest_first(client: Client, clock: HandClock) -> None:
    client.send("out")
    clock.pass_by(1.5)
    client.control("inbound", {"from": REMOTE, "to": NUMBER, "message": "in"})
    newest, oldest = client.read(THREAD + "/messages").json()["smsMessageList"]["smsMessage"]

    assert oldest == {
        "type": "Outbound",
        "messageId": client.journal()[0]["message_id"],
        "message": "out",
        "status": "DeliveredToNetwork",
        "dateTime": 1_700_000_000,
        "resourceURL": f"/cpaas/smsmessaging/v1/{client.user_id}/remoteAddresses{THREAD}/messages/"
        + client.journal()[0]["message_id"],
    }
    assert (newest["type"], newest["message"], newest["dateTime"]) == ("Inbound", "in", 1_700_000_001)


def test_threads_list_their_messages(client: Client, clock: HandClock) -> None:
    client.send("one")
    clock.pass_by(10)
    client.control("inbound", {"from": REMOTE, "message": "two"})
    client.send("elsewhere", to="+16135550000", sender=OTHER)
    threads = client.read().json()["smsThreadList"]["smsThread"]
    alone = client.read(THREAD).json()["smsThread"]

    assert {thread["remoteAddress"] for thread in threads} == {REMOTE, "+16135550000"}
    assert alone["threadDetails"] == {
        "firstMessageTime": 1_700_000_000_000,
        "lastMessageTime": 1_700_000_010_000,
        "lastPullTime": 0,
        "lastText": "two",
        "length": 2,
        "new": 1,
    }
    assert client.read(f"/{REMOTE}").json()["smsThreadList"]["smsThread"] == [alone]


@pytest.mark.parametrize("path", ["/+16135559999", THREAD, THREAD + "/messages", THREAD + "/messages/SM0"])
def test_missing_resource_is_a_404_with_the_providers_error(client: Client, path: str) -> None:
    answer = client.read(path)

    assert answer.status_code == 404
    assert answer.json()["requestError"]["serviceException"]["messageId"] == "SVC2002"


def test_account_without_messages_has_an_empty_list_of_threads(client: Client) -> None:
    assert client.read().json()["smsThreadList"]["smsThread"] == []


def test_plus_in_a_path_may_be_encoded(client: Client) -> None:
    client.send("hi")

    assert texts(client.read(f"/%2B{REMOTE[1:]}/localAddresses/%2B{NUMBER[1:]}/messages")) == ["hi"]


def test_message_between_two_pages_does_not_shift_them(client: Client) -> None:
    for index in range(4):
        client.send(str(index))
    first = client.read(THREAD + "/messages", max=2)
    client.send("late")
    second = client.read(THREAD + "/messages", max=2, next=first.json()["smsMessageList"]["next"])

    assert texts(second) == ["1", "0"]


def test_threads_are_paged(client: Client) -> None:
    for index in range(3):
        client.send(to=f"+1613555000{index}")
    first = client.read(max=2).json()["smsThreadList"]
    second = client.read(max=2, next=first["next"]).json()["smsThreadList"]

    assert (len(first["smsThread"]), len(second["smsThread"])) == (2, 1)
    assert "next" not in second


@pytest.mark.parametrize("query", [{"next": "nonsense"}, {"max": "many"}, {"lastMessageTime": "noon"}])
def test_invalid_queries_are_refused(client: Client, query: dict[str, object]) -> None:
    client.send()

    assert client.read(THREAD + "/messages", **query).status_code == 400


@pytest.mark.parametrize("since", [1_700_000_010, 1_700_000_010_000])
def test_last_message_time_is_read_in_seconds_and_in_milliseconds(
    client: Client, clock: HandClock, since: int
) -> None:
    send_at_intervals(client, clock, "0", "10", "20")

    assert texts(client.read(THREAD + "/messages", lastMessageTime=since)) == ["20", "10"]


def test_parameter_new_shows_only_unseen_messages(client: Client) -> None:
    client.send("ours")
    client.control("inbound", {"from": REMOTE, "message": "theirs"})
    first = texts(client.read(THREAD + "/messages", new="true"))
    again = texts(client.read(THREAD + "/messages", new="true"))

    assert (first, again) == (["theirs"], [])
    assert client.read(THREAD).json()["smsThread"]["threadDetails"]["new"] == 0


def test_message_shows_only_after_the_lag(client: Client, clock: HandClock) -> None:
    client.control("settings", {"lag": 30})
    client.send("hi")
    message = f"{THREAD}/messages/{client.journal()[0]['message_id']}"
    clock.pass_by(29)
    early = [client.read(path).status_code for path in (THREAD + "/messages", message, message + "/status")]
    clock.pass_by(1)

    assert early == [404, 404, 404]
    assert client.read().json()["smsThreadList"]["smsThread"] != []
    assert texts(client.read(THREAD + "/messages")) == ["hi"]


def test_trial_account_keeps_only_the_latest(client: Client) -> None:
    client.control("settings", {"history_cap": 2})
    client.send("0", to="+16135550000")
    client.send("1")
    client.send("2")

    assert texts(client.read(THREAD + "/messages")) == ["2", "1"]
    assert client.read("/+16135550000").status_code == 404
    assert len(client.journal()) == 3


@pytest.mark.parametrize(("units", "factor"), [("s", 1), ("mixed", 1), ("ms", 1000)])
def test_times_have_the_configured_unit(client: Client, units: str, factor: int) -> None:
    client.control("settings", {"units": units})
    client.send()
    (message,) = client.read(THREAD + "/messages").json()["smsMessageList"]["smsMessage"]

    assert message["dateTime"] == 1_700_000_000 * factor


def test_status_changes_with_time_or_on_request(client: Client, clock: HandClock) -> None:
    client.control("settings", {"delivered_after": 60})
    client.send()
    message_id = client.journal()[0]["message_id"]
    path = f"{THREAD}/messages/{message_id}/status"
    at_first = client.read(path).json()
    clock.pass_by(60)
    later = client.read(path).json()
    client.control("status", {"message_id": message_id, "status": "DeliveryImpossible"})

    assert (at_first, later) == ({"status": "DeliveredToNetwork"}, {"status": "DeliveredToTerminal"})
    assert client.read(path).json() == {"status": "DeliveryImpossible"}


def test_message_and_a_thread_can_be_deleted_once(client: Client) -> None:
    client.send("one")
    client.send("two")
    one = client.journal()[0]["message_id"]
    path = f"smsmessaging/v1/{{}}/remoteAddresses{THREAD}"
    deleted = [client.call("DELETE", f"{path}/messages/{one}").status_code for _ in range(2)]
    left = texts(client.read(THREAD + "/messages"))
    thread = [client.call("DELETE", path).status_code for _ in range(2)]

    assert (deleted, left, thread) == ([204, 404], ["two"], [204, 404])
    assert client.control("messages") == []


def test_reset_clears_the_state_and_keeps_the_tokens(client: Client) -> None:
    client.control("settings", {"latency": 0.01})
    client.send()
    client.control("reset", {})

    assert client.journal() == []
    assert client.control("settings")["latency"] == 0
    assert client.send().status_code == 201


def test_settings_of_the_owner_are_not_changed_by_a_request(client: Client) -> None:
    changes = [{"external_webhooks": True}, {"journal": "/etc/passwd"}, {"latency": -1}, {"colour": "red"}]
    answers = [
        requests.post(f"{client.url}/_simulator/settings", json=change, timeout=5) for change in changes
    ]

    assert [answer.status_code for answer in answers] == [400] * 4
    assert all(answer.json()["message"] for answer in answers)


@pytest.mark.parametrize("path", ["/", "/_simulator", "/_simulator/"])
def test_html_page_needs_no_external_resources(client: Client, path: str) -> None:
    answer = requests.get(client.url + path, timeout=5)

    assert answer.headers["Content-Type"].startswith("text/html")
    assert "<form" in answer.text
    assert "//" not in answer.text.replace("<!-- ", "")
