"""The webhook under long pressure: strangers of all kinds, odd bodies by the thousand, the whole contract."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.malformed_bodies import ASKED, Asked, variants
from tests.harness.api_conformance import CLEAN, CONTRACT, report
from tests.harness.misbehaving_clients import RUDE, SECRET, impatient_clients, request, slow_clients
from tests.harness.raw_http import Client, once
from tests.harness.waiting import wait_until
from tests.harness.webhook import Webhook, inbound, listening_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import StartBridge
    from tests.harness.broker_client import BrokerClient
    from tests.harness.processes import BridgeProcess

pytestmark = [pytest.mark.broker, pytest.mark.acceptance, pytest.mark.long]

#: How long it is fuzzed; `FUZZ_SECONDS=600` is what a change of the server deserves.
FUZZ_SECONDS = float(os.environ.get("FUZZ_SECONDS", "30"))
STORM_SECONDS = 40.0
DOCUMENTED = {
    int(status)
    for status in json.loads(CONTRACT.read_text())["paths"]["/inbound-sms/webhook"]["post"]["responses"]
}


@pytest.fixture
def ingest(bridge_process: StartBridge, vhost_url: str, amqp: BrokerClient) -> tuple[BridgeProcess, Webhook]:
    """Start an ingest, with a queue that keeps its newest events alone."""
    amqp.delete("test.events")
    amqp.bind(amqp.declare_queue("test.newest", {"x-max-length": 100}), "sms.events", "#")
    env = {
        "BRIDGE_BROKER__URL": vhost_url,
        "BRIDGE_INGEST__PORT": "0",
        "BRIDGE_INGEST__AUTHORIZATION": SECRET,
    }
    process = bridge_process("ingest", env=env)
    return process, Webhook(port=listening_port(process), authorization=SECRET)


def descriptors(process: BridgeProcess) -> int:
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


# -- strangers -------------------------------------------------------------------------------------


def rude(port: int) -> None:
    """Do all that no decent client does."""
    for _, data, _ in RUDE:
        try:
            once(port, data)
        except OSError:
            continue


def keyless(port: int) -> None:
    """Come without the right authorization, with a large body, and hang up."""
    for _ in range(20):
        with Client(port) as client:
            client.send(
                request("Content-Length: 60000", authorization="Bearer hunter2-guess") + b" " * 30_000
            )
            client.status()


def half(port: int) -> None:
    """Have the right authorization, and hang up a byte before a large body's end."""
    for _ in range(20):
        with Client(port) as client:
            client.send(request("Content-Length: 60000") + b" " * 59_999)
            client.socket.shutdown(socket.SHUT_WR)
            client.closed()


def test_hostile_clients_cost_neither_good_requests_nor_memory(
    ingest: tuple[BridgeProcess, Webhook],
) -> None:
    process, webhook = ingest
    over = threading.Event()
    seconds: list[float] = []
    statuses: list[int] = []

    def again(what: Callable[[int], None]) -> None:
        while not over.is_set():
            try:
                what(webhook.port)
            except OSError:
                continue

    def good(until: float) -> None:
        while time.monotonic() < until:
            began = time.monotonic()
            statuses.append(webhook.post(inbound(f"m{len(statuses)}")).status)
            seconds.append(time.monotonic() - began)
            over.wait(0.02)

    before = descriptors(process)
    with (
        slow_clients(webhook.port),
        impatient_clients(webhook.port, b"GET / HTTP/1.1\r\nHost: bridge\r\n\r\n"),
        ThreadPoolExecutor(3) as pool,
    ):
        unknown_clients = [pool.submit(again, what) for what in (rude, keyless, half)]
        try:
            good(time.monotonic() + STORM_SECONDS / 4)
            early = process.memory
            good(time.monotonic() + STORM_SECONDS * 3 / 4)
            late = process.memory
        finally:
            over.set()
    for unknown_client in unknown_clients:
        unknown_client.result()
    wait_until(lambda: descriptors(process) <= before + 3, 30, what="descriptors back")
    slowest = sorted(seconds)[int(len(seconds) * 0.99)]
    print(f"{len(seconds)} good requests, p99 {slowest:.3f} s, {early:.0f} MB early, {late:.0f} MB late")

    assert set(statuses) == {204}
    assert slowest < 1
    assert late - early < 10


# -- odd bodies ------------------------------------------------------------------------------------


class Fuzzing:
    """Asks one webhook, and counts what it answers."""

    def __init__(self, port: int) -> None:
        self.answers: dict[int, int] = dict.fromkeys(DOCUMENTED, 0)
        self._port = port
        self._client: Client | None = None

    def ask(self, asked: Asked) -> None:
        """Ask on the last connection, or on a new one where that is over."""
        if self._client is None:
            self._client = Client(self._port, timeout=30)
        try:
            status = self._client.send(asked.wire).status()
        except ConnectionError:
            status = 0
        if status in {0, 413} or self._client.headers.get("connection") == "close":
            self.close()
        if status == 0 and asked.answer in {401, 413, 415}:
            # It was closed in the middle of a body that is not read.
            status = asked.answer
        assert status in {asked.answer, 503}, asked
        self.answers[status] += 1

    def close(self) -> None:
        """Let go of the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.__exit__()


def test_no_body_crashes_or_hangs_the_ingest(ingest: tuple[BridgeProcess, Webhook]) -> None:
    process, webhook = ingest
    fuzzing = Fuzzing(webhook.port)

    @settings(
        max_examples=30,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(asked=ASKED, seed=st.integers(0, 2**32))
    def ask(asked: Asked, seed: int) -> None:
        for body in variants(asked.body, Random(seed)):
            fuzzing.ask(asked._replace(body=body))

    began, end = process.memory, time.monotonic() + FUZZ_SECONDS
    with closing(fuzzing):
        while time.monotonic() < end:
            ask()
    answers, grown = fuzzing.answers, process.memory - began
    print(f"{sum(answers.values())} requests in {FUZZ_SECONDS:g} s: {answers}; {grown:.1f} MB more")
    counted = r'^sms_bridge_notifications_total\{code="204",.*\} (\S+)$'
    events = sum(map(float, re.findall(counted, process.admin("/metrics")[1], re.MULTILINE)))

    assert webhook.post(inbound("after")).status == 204
    assert events == answers[204]
    assert answers[503] <= sum(answers.values()) / 1000
    assert all(answers[status] for status in (204, 400, 401))
    assert not re.findall(r"request\.failed|crashed|Exception", process.logs)
    assert grown < 60


# -- the contract ----------------------------------------------------------------------------------


def test_schemathesis_requests_are_answered_as_the_contract_says(
    ingest: tuple[BridgeProcess, Webhook], tmp_path: Path
) -> None:
    _, webhook = ingest
    code, said = report(webhook, tmp_path, "--max-time", "60")

    assert (code, CLEAN in said) == (0, True), said


def test_schemathesis_detects_a_violated_contract(
    ingest: tuple[BridgeProcess, Webhook], tmp_path: Path
) -> None:
    contract: dict[str, Any] = json.loads(CONTRACT.read_text())
    del contract["paths"]["/inbound-sms/webhook"]["post"]["responses"]["401"]
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(contract))
    code, said = report(ingest[1], tmp_path, "--phases", "coverage", contract=wrong)

    assert (code, "Received: 401" in said) == (1, True), said
