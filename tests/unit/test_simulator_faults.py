"""Faults of the simulator: their effect on the client, and whether the send was accepted."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import requests

from bridge.simulator import Simulator, SimulatorSettings
from tests.harness.waiting import wait_until
from tests.unit.simulated import NUMBER, REMOTE, Client

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def client() -> Iterator[Client]:
    with Simulator() as simulator, Client(simulator.url) as client:
        yield client


NO_ANSWER = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


@pytest.mark.parametrize(
    "name",
    ["accept-drop", "accept-reset", "accept-hang", "accept-truncate", "accept-garbage"],
)
def test_accepted_send_is_in_the_journal_with_an_unreadable_response(client: Client, name: str) -> None:
    client.control("faults", [{"name": name}])
    with pytest.raises(NO_ANSWER):
        client.send("hi", timeout=0.3)

    wait_until(lambda: len(client.journal()) == 1)


def test_drip_fault_outlasts_any_read_timeout(client: Client) -> None:
    client.control("faults", [{"name": "accept-drip", "seconds": 0.001}])
    began = time.monotonic()
    answer = client.send("hi", timeout=0.5)

    assert time.monotonic() - began > 0.5
    assert answer.json()["outboundSMSMessageRequest"]["senderAddress"] == NUMBER
    assert len(client.journal()) == 1


@pytest.mark.parametrize("name", ["drop", "reset", "hang", "garbage"])
def test_refused_send_is_not_in_the_journal(client: Client, name: str) -> None:
    client.control("faults", [{"name": name}])
    with pytest.raises(NO_ANSWER):
        client.send("hi", timeout=0.3)

    assert client.journal() == []
    assert client.send().status_code == 201


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        ({"name": "accept-500"}, 500, ""),
        ({"name": "accept-502"}, 502, ""),
        ({"name": "accept-504", "body": "<h1>Gateway</h1>"}, 504, "<h1>Gateway</h1>"),
        ({"name": "accept-status", "status": 201, "body": "<html>"}, 201, "<html>"),
        ({"name": "empty"}, 201, ""),
        ({"name": "accept-empty"}, 201, ""),
    ],
)
def test_accepted_send_can_be_answered_with_something_else(
    client: Client, fault: dict[str, Any], status: int, body: str
) -> None:
    client.control("faults", [fault])
    answer = client.send()

    assert (answer.status_code, answer.text) == (status, body)
    assert len(client.journal()) == 1


@pytest.mark.parametrize(
    "status", [301, 307, 400, 401, 403, 404, 408, 409, 413, 429, 500, 501, 502, 503, 504]
)
def test_any_status_can_be_requested(client: Client, status: int) -> None:
    error = {"requestError": {"serviceException": {"messageId": "SVC1000", "text": "No server resources"}}}
    client.control("faults", [{"name": "status", "status": status, "body": error}])
    answer = client.send()

    assert (answer.status_code, answer.json()) == (status, error)
    assert client.journal() == []


@pytest.mark.parametrize("retry_after", [2, 0.5, "Wed, 21 Oct 2026 07:28:00 GMT", "soon"])
def test_retry_after_is_sent_as_it_is_written(client: Client, retry_after: object) -> None:
    client.control("faults", [{"name": "status", "status": 429, "retry_after": retry_after}])
    answer = client.send()

    assert answer.headers["Retry-After"] == str(retry_after)
    assert "Content-Type" not in answer.headers


def test_headers_can_be_set(client: Client) -> None:
    fault = {
        "name": "accept-status",
        "status": 201,
        "body": "x",
        "headers": {"Content-Type": "text/html", "X-A": "b"},
    }
    client.control("faults", [fault])
    answer = client.send()

    assert (answer.headers["Content-Type"], answer.headers["X-A"]) == ("text/html", "b")


def test_answer_can_lack_the_message_id(client: Client) -> None:
    client.control("faults", [{"name": "no-message-id"}])
    answer = client.send()

    assert answer.json()["outboundSMSMessageRequest"]["senderAddress"] == NUMBER
    assert "resourceURL" not in answer.text
    assert len(client.journal()) == 1


def test_answer_can_be_compressed(client: Client) -> None:
    client.control("faults", [{"name": "gzip"}])
    answer = client.send()

    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.json()["outboundSMSMessageRequest"]["address"] == [REMOTE]


def test_send_can_be_accepted_after_the_client_gave_up(client: Client) -> None:
    client.control("faults", [{"name": "accept-late", "seconds": 0.1}])
    with pytest.raises(NO_ANSWER):
        client.send("late")
    at_first = client.journal()
    wait_until(client.journal)

    assert at_first == []
    assert [entry["message"] for entry in client.journal()] == ["late"]


def test_faults_come_in_order_one_for_each_send(client: Client) -> None:
    faults = [None, {"name": "status", "status": 503}, None, {"name": "status", "status": 429, "times": 2}]
    client.control("faults", faults)

    assert [client.send().status_code for _ in range(6)] == [201, 503, 201, 429, 429, 201]


def test_fault_can_wait_for_a_text(client: Client) -> None:
    client.control("faults", [{"name": "status", "status": 500, "text": "né-7", "times": 2}])
    texts = ["other", "order né-7 shipped", "né-7", "né-7"]

    assert [client.send(text).status_code for text in texts] == [201, 500, 500, 201]


def test_send_that_is_refused_anyway_is_not_accepted_by_a_fault(client: Client) -> None:
    client.control("faults", [{"name": "accept-500"}])

    assert client.send(sender="+16130000000").status_code == 403
    assert client.journal() == []


def test_call_without_a_token_uses_up_no_fault(client: Client) -> None:
    client.control("faults", [{"name": "status", "status": 503}])
    client.control("tokens/revoke", {})

    assert client.send().status_code == 401
    assert client.control("stats")["faults_waiting"] == 1


def test_other_calls_fail_on_demand_too(client: Client) -> None:
    client.control("faults?on=token", [{"name": "status", "status": 503}, {"name": "no-id-token"}])
    client.control("faults?on=history", [{"name": "status", "status": 404}])
    form = {"client_id": "x", "client_secret": "y", "grant_type": "client_credentials", "scope": "openid"}
    tokens = [requests.post(f"{client.url}/cpaas/auth/v1/token", data=form, timeout=5) for _ in range(3)]

    assert [answer.status_code for answer in tokens] == [503, 200, 200]
    assert ["id_token" in answer.text for answer in tokens] == [False, False, True]
    assert [client.read().status_code for _ in range(2)] == [404, 200]


def test_permanent_fault_lasts_until_it_is_removed(client: Client) -> None:
    client.control("settings", {"failing": {"history": {"name": "status", "status": 503}}})
    down = [client.read().status_code for _ in range(3)]
    client.control("settings", {"failing": {}})

    assert down == [503, 503, 503]
    assert client.read().status_code == 200


@pytest.mark.parametrize(
    "faults",
    [
        [{"name": "no-such"}],
        [{"name": "status"}],
        [{"name": "drop", "colour": 1}],
        {"name": "drop"},
        [1],
    ],
)
def test_invalid_faults_are_refused_with_a_reason(client: Client, faults: object) -> None:
    answer = requests.post(f"{client.url}/_simulator/faults", json=faults, timeout=5)

    assert answer.status_code == 400
    assert answer.json()["message"]


def test_faults_are_counted_by_name(client: Client) -> None:
    client.control("faults", [{"name": "accept-500"}, {"name": "accept-500"}])
    client.send()
    client.send()
    stats = client.control("stats")

    assert (stats["sends"], stats["accepted"], stats["fault:accept-500"], stats["status:500"]) == (2, 2, 2, 2)


def test_every_call_is_listed_with_its_time_and_how_it_was_answered(client: Client) -> None:
    client.control("faults", [{"name": "status", "status": 503}])
    client.send("down")
    client.send("up")
    client.read()
    client.control("tokens/revoke", {})
    client.send("late")
    calls = [call for call in client.control("calls") if call["kind"] != "token"]
    times = [call["at"] for call in calls]

    assert [(call["kind"], call["message"], call["fault"], call["status"]) for call in calls] == [
        ("send", "down", "status", 503),
        ("send", "up", None, 201),
        ("history", None, None, 200),
        ("send", "late", None, 401),
    ]
    assert times == sorted(times)
    assert {call["in_flight"] for call in calls} == {1}


def test_unreadable_call_is_listed(client: Client) -> None:
    client.call("POST", f"smsmessaging/v1/{{}}/outbound/{NUMBER}/requests", json=[1])
    last = client.control("calls")[-1]

    assert (last["kind"], last["message"], last["status"]) == ("send", None, 400)


def test_reset_fault_sends_rst_and_drop_fault_does_not(client: Client) -> None:
    client.control(
        "faults", [{"name": "accept-reset", "text": "rst"}, {"name": "accept-drop", "text": "fin"}]
    )

    assert _last_words(client, "fin") == b""
    with pytest.raises(ConnectionResetError):
        _last_words(client, "rst")


def test_idle_connection_is_closed_after_its_time() -> None:
    with Simulator(SimulatorSettings(keep_alive=0.05)) as simulator:
        port = int(simulator.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /_simulator/stats HTTP/1.1\r\nHost: x\r\n\r\n")

            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 OK")
            assert connection.recv(1) == b""


def test_without_keep_alive_each_answer_ends_its_connection(client: Client) -> None:
    client.control("settings", {"keep_alive": 0})

    assert client.send().headers["Connection"] == "close"
    assert client.send().status_code == 201


def test_requests_in_one_packet_are_answered_in_order(client: Client) -> None:
    port = int(client.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(
            b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n"
            b"GET /_simulator/stats HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        answers = b"".join(iter(lambda: connection.recv(65_536), b""))

    assert answers.index(b"404 Not Found") < answers.index(b"200 OK")


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01 not http\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"]
)
def test_malformed_request_is_a_400(client: Client, sent: bytes) -> None:
    port = int(client.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(sent)

        assert b"".join(iter(lambda: connection.recv(65_536), b"")).startswith(b"HTTP/1.1 400")


def test_stop_ends_hanging_calls() -> None:
    simulator = Simulator()
    simulator.start()
    with Client(simulator.url) as client, ThreadPoolExecutor(1) as pool:
        client.control("faults", [{"name": "accept-hang"}])
        hanging = pool.submit(client.send, timeout=30)
        wait_until(lambda: requests.get(f"{simulator.url}/_simulator/journal", timeout=5).json())
        simulator.stop()

        assert isinstance(hanging.exception(timeout=5), requests.ConnectionError)


def _last_words(client: Client, text: str) -> bytes:
    """Send over a raw socket and return all received bytes."""
    body = f'{{"outboundSMSMessageRequest":{{"address":["{REMOTE}"],"outboundSMSTextMessage":{{"message":"{text}"}}}}}}'
    head = [
        f"POST /cpaas/smsmessaging/v1/{client.user_id}/outbound/default/requests HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"Authorization: Bearer {client.tokens['access_token']}",
    ]
    port = int(client.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(("\r\n".join(head) + "\r\n\r\n" + body).encode())
        return connection.recv(65_536)


def test_call_that_hangs_is_in_flight_until_its_client_is_gone(client: Client) -> None:
    client.control("faults", [{"name": "accept-hang"}])
    with pytest.raises(NO_ANSWER):
        client.send("hangs", timeout=0.3)

    def sent_alone() -> bool:
        client.send("next")
        return bool(client.control("calls")[-1]["in_flight"] == 1)

    wait_until(sent_alone)
