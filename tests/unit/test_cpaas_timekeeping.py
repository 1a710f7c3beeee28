"""Clock comparison: nothing is sent while the clocks differ by more than reconciliation allows."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.cpaas.client import CpaasClient
from bridge.adapters.cpaas.gateway import CpaasGateway
from bridge.domain.answers import Accepted, Blocked
from tests.fakes.provider_server import ProviderServer, accepted, answer
from tests.unit.cpaas_setup import ONCE, account, submission

if TYPE_CHECKING:
    from collections.abc import Iterator

NEVER = 1e12
SKEW = 120.0


@dataclass
class OffClock:
    """The machine's clock, off by some seconds."""

    ahead: float = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass
class It:
    """A gateway, its provider and the clock with the difference."""

    gateway: CpaasGateway
    server: ProviderServer
    clock: OffClock


def dated(seconds: float = 0.0) -> dict[str, str]:
    """Return the head of a response from a provider with a correct clock."""
    return {"Date": formatdate(time.time() + seconds, usegmt=True)}


@contextmanager
def it_with(ahead: float) -> Iterator[It]:
    clock = OffClock(ahead)
    with ProviderServer() as server:
        server.token_acts.append(answer(200, server.new_token(), dated()))
        client = CpaasClient(account(server.base_url), clock, ONCE, threading.Event(), skew=SKEW)
        yield It(CpaasGateway(client, clock), server, clock)
        client.close()


@pytest.mark.parametrize("ahead", [200.0, -200.0, 86_400.0])
def test_nothing_is_sent_when_the_first_response_shows_a_wrong_clock(ahead: float) -> None:
    with it_with(ahead) as it:
        attempted = it.gateway.send(submission(), until=NEVER)

        assert isinstance(attempted.answer, Blocked)
        assert attempted.answer.error.name == "clock"
        assert it.server.sends == [], "the response to the token request showed it already"


@pytest.mark.parametrize("ahead", [0.0, 100.0, -100.0])
def test_clock_difference_within_the_reconciliation_skew_is_accepted(ahead: float) -> None:
    with it_with(ahead) as it:
        it.server.acts.append(answer(201, accepted(), dated()))

        assert isinstance(it.gateway.send(submission(), until=NEVER).answer, Accepted)


def test_history_is_not_used_and_probes_fail_while_the_clock_is_wrong() -> None:
    with it_with(500.0) as it:
        nothing = answer(200, {"smsMessageList": {"smsMessage": []}}, dated())
        it.server.acts.extend([nothing] * 4)

        assert it.gateway.look_up(submission(), window=None, until=NEVER) is None
        assert not it.gateway.probe(until=NEVER)
        it.clock.ahead = 0.0
        assert it.gateway.probe(until=NEVER)
        assert (
            it.gateway.look_up(submission(sender_address="+16139998877"), window=None, until=NEVER)
            is not None
        )


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Nov 2026 99:00:00 GMT"])
def test_provider_without_a_date_header_is_trusted(date: str) -> None:
    with it_with(0.0) as it:
        it.server.acts.append(answer(201, accepted(), {"Date": date}))

        assert isinstance(it.gateway.send(submission(), until=NEVER).answer, Accepted)


def test_date_without_a_zone_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        with it_with(0.0) as it:
            asctime = time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime())
            it.server.acts.append(answer(201, accepted(), {"Date": asctime}))
            it.server.acts.append(answer(201, accepted()))
            it.gateway.send(submission(), until=NEVER)
            second = it.gateway.send(submission(), until=NEVER)
    finally:
        monkeypatch.undo()
        time.tzset()

    assert isinstance(second.answer, Accepted)
