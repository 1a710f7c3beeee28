"""The simulator's tokens and sends: authentication, accepted requests and responses."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import jwt
import pytest
import requests

from bridge.simulator import Simulator, SimulatorSettings
from tests.fakes.clock import HandClock
from tests.harness.waiting import wait_until
from tests.unit.simulated import NUMBER, OTHER, REMOTE, Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def clock() -> HandClock:
    return HandClock(1_700_000_000.0)


@pytest.fixture
def client(clock: HandClock) -> Iterator[Client]:
    with Simulator(clock=clock) as simulator, Client(simulator.url) as client:
        yield client


def code_of(answer: requests.Response) -> str:
    (error,) = answer.json()["requestError"].values()
    return str(error["messageId"])


# -- tokens ----------------------------------------------------------------------------------------


def test_tokens_of_both_grants_are_valid_for_eight_hours(client: Client) -> None:
    password = {"grant_type": "password", "username": "a@example.com", "password": "p"}
    answers = [client.log_in(), client.log_in(**password)]

    for answer in answers:
        claims = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
        identity = jwt.decode(answer.json()["id_token"], options={"verify_signature": False})

        assert answer.status_code == 200
        assert claims["exp"] - claims["iat"] == answer.json()["expires_in"] == 28_800
        assert identity["sms-did-list"] == f"{NUMBER},{OTHER}"


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "unauthorized_client"),
        ({"grant_type": "password", "username": "a@b.c", "password": "wrong"}, 401, "invalid_grant"),
        ({"grant_type": "password"}, 400, "invalid_request"),
        ({"grant_type": "magic"}, 400, "unsupported_grant_type"),
    ],
)
def test_credentials_that_are_wrong_get_an_oauth_error(
    client: Client, changes: dict[str, str], status: int, error: str
) -> None:
    answer = client.log_in(**changes)

    assert (answer.status_code, answer.json()["error"]) == (status, error)


def test_without_the_openid_scope_there_is_no_id_token(client: Client) -> None:
    form = {"client_id": "x", "client_secret": "y", "grant_type": "client_credentials"}
    answer = requests.post(f"{client.url}/cpaas/auth/v1/token", data=form, timeout=5)

    assert "access_token" in answer.json()
    assert "id_token" not in answer.json()


def test_token_counts_until_it_expires(client: Client, clock: HandClock) -> None:
    assert client.send().status_code == 201

    clock.pass_by(28_800)
    expired = client.send()

    assert (expired.status_code, code_of(expired)) == (401, "SVC2003")


def test_user_in_the_path_must_be_the_tokens(client: Client) -> None:
    client.user_id = "somebody-else"

    assert client.send().status_code == 403


# -- sends -----------------------------------------------------------------------------------------


def test_accepted_send_is_answered_as_the_provider_does(client: Client) -> None:
    answer = client.send("Hi \U0001f44b", correlator=67893)
    (entry,) = client.journal()
    base = f"/cpaas/smsmessaging/v1/{client.user_id}/remoteAddresses"
    message_id = entry["message_id"]

    assert answer.status_code == 201
    assert answer.json() == {
        "outboundSMSMessageRequest": {
            "address": [REMOTE],
            "clientCorrelator": 67893,
            "deliveryInfoList": {
                "deliveryInfo": [{"address": REMOTE, "deliveryStatus": "DeliveredToNetwork"}],
                "resourceURL": f"{base}/{REMOTE}/messages/{message_id}/deliveryInfos",
            },
            "outboundSMSTextMessage": {"message": "Hi \U0001f44b"},
            "resourceURL": f"{base}/{NUMBER}/messages/{message_id}",
            "senderAddress": NUMBER,
        }
    }


@pytest.mark.parametrize("sender", ["default", "{}", NUMBER, "%2B16139998877", "tel:+16139998877"])
def test_every_spelling_of_the_default_number_is_accepted(client: Client, sender: str) -> None:
    answer = client.send(sender=sender)

    assert answer.json()["outboundSMSMessageRequest"]["senderAddress"] == NUMBER


@pytest.mark.parametrize("sender", ["+16130000000", "ACME", "16139998877"])
def test_sender_that_is_not_owned_is_forbidden(client: Client, sender: str) -> None:
    answer = client.send(sender=sender)

    assert (answer.status_code, code_of(answer)) == (403, "POL0001")
    assert client.journal() == []


@pytest.mark.parametrize(
    "to", ["+19995550123", "nobody", "", "+1613 555", "sip:+16131112222", "+123456789012345678"]
)
def test_invalid_address_is_refused(client: Client, to: str) -> None:
    answer = client.send(to=to)

    assert (answer.status_code, code_of(answer)) == (400, "SVC0002")
    assert client.journal() == []


@pytest.mark.parametrize(
    "request_body",
    [
        {"address": REMOTE, "outboundSMSTextMessage": {"message": "hi"}},
        {"address": [REMOTE, REMOTE], "outboundSMSTextMessage": {"message": "hi"}},
        {"address": [], "outboundSMSTextMessage": {"message": "hi"}},
        {"address": [REMOTE], "outboundSMSTextMessage": {"message": ""}},
        {"address": [REMOTE], "outboundSMSTextMessage": {"message": 1}},
        {"address": [REMOTE], "outboundSMSTextMessage": {"message": "hi", "more": 1}},
        {"address": [REMOTE], "outboundSMSTextMessage": "hi"},
        {"address": [REMOTE]},
        {"address": [REMOTE], "outboundSMSTextMessage": {"message": "hi"}, "message": "hi"},
        {"address": [REMOTE], "outboundSMSTextMessage": {"message": "hi"}, "clientCorrelator": {}},
        [],
    ],
)
def test_body_that_no_sdk_sends_is_refused(client: Client, request_body: object) -> None:
    path = "smsmessaging/v1/{}/outbound/default/requests"
    answers = [
        client.call("POST", path, json={"outboundSMSMessageRequest": request_body}),
        client.call("POST", path, json=request_body),
        client.call("POST", path, data=b"{", headers={"Content-Type": "application/json"}),
    ]

    assert [answer.status_code for answer in answers] == [400, 400, 400]
    assert {code_of(answer) for answer in answers} == {"SVC0002"}


def test_body_that_does_not_say_json_is_a_415(client: Client) -> None:
    answer = client.call("POST", "smsmessaging/v1/{}/outbound/default/requests", data={"a": "b"})

    assert answer.status_code == 415


@pytest.mark.parametrize(("mode", "statuses"), [("ignore", [201, 201]), ("dedupe", [201, 409])])
def test_correlator_is_an_idempotency_key_only_if_configured(
    client: Client, mode: str, statuses: list[int]
) -> None:
    client.control("settings", {"correlator": mode})
    answers = [client.send(correlator="same"), client.send(correlator="same")]

    assert [answer.status_code for answer in answers] == statuses
    assert len(client.journal()) == statuses.count(201)


# -- connections and the file ----------------------------------------------------------------------


def test_unknown_paths_and_methods_are_404_and_405(client: Client) -> None:
    wrong_method = client.call("GET", "auth/v1/token")

    assert client.call("GET", "elsewhere").status_code == 404
    assert (wrong_method.status_code, wrong_method.headers["Allow"]) == (405, "POST")


def test_token_requests_at_the_same_time_are_counted(client: Client) -> None:
    client.control("settings", {"token_latency": 60})
    form = b"grant_type=client_credentials&client_id=x&client_secret=y"
    asked = b"POST /cpaas/auth/v1/token HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (
        len(form),
        form,
    )
    port = int(client.url.rpartition(":")[2])
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(asked)

        wait_until(lambda: client.control("stats")["max_concurrent_token_requests"] == 3)
        assert client.control("stats")["token_requests"] == 4


def test_send_is_counted_before_its_slow_response(client: Client) -> None:
    client.control("settings", {"latency": 60})
    with pytest.raises(requests.ReadTimeout):
        client.send("slow", timeout=0.2)

    wait_until(client.journal)
    assert [entry["message"] for entry in client.journal()] == ["slow"]


def test_accepted_sends_outlive_the_process(tmp_path: Path, clock: HandClock) -> None:
    settings = SimulatorSettings(journal=tmp_path / "journal")
    with Simulator(settings, clock=clock) as first, Client(first.url) as client:
        client.send("before")
        before = client.journal()
        assert [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()] == before
    with settings.journal.open("ab") as file:  # type: ignore[union-attr]
        file.write(b'{"message_id": "torn')
    with Simulator(settings, clock=clock) as second, Client(second.url) as client:
        client.send("after")
        entries = client.journal()
        history = client.read(f"/{REMOTE}/localAddresses/{NUMBER}/messages").json()

    assert entries[0] == before[0]
    assert [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()] == entries
    assert {m["message"] for m in history["smsMessageList"]["smsMessage"]} == {"before", "after"}


def test_port_in_use_is_reported() -> None:
    with Simulator() as first, pytest.raises(OSError, match="in use"):
        Simulator().start(port=int(first.url.rpartition(":")[2]))


def test_server_stops_on_request() -> None:
    stopping = threading.Event()
    simulator = Simulator()
    serving = threading.Thread(target=simulator.serve, args=("127.0.0.1", 0, stopping))
    serving.start()
    wait_until(lambda: simulator.url)
    with Client(simulator.url) as client:
        sent = client.send().status_code
    stopping.set()
    serving.join(5)

    assert sent == 201
    assert not serving.is_alive()
    with pytest.raises(requests.ConnectionError):
        requests.get(simulator.url, timeout=5)


@pytest.mark.parametrize("numbers", [(), ("nobody",)])
def test_account_accepts_only_valid_numbers(numbers: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="number"):
        SimulatorSettings(numbers=numbers)
