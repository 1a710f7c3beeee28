"""The client and a real worker: one id is one SMS, outcomes come back, and the runbook's rights are enough."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from bridge.client import Client, Command, Consumer, NoOutcomeYet, NotSent, QueueRefused
from tests.acceptance.test_rights import Users, users
from tests.broker.client_setup import Running
from tests.harness.broker_client import BrokerClient
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.client import Event
    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

__all__ = ["users"]

TO = "+16131234567"


def test_a_command_comes_back_as_an_outcome_and_twice_is_once(
    env: Mapping[str, str], bridge_process: StartBridge, provider: Provider, vhost_url: str
) -> None:
    bridge_process("worker", env=env)
    with Client(vhost_url) as sms:
        first = sms.send_and_wait(to=TO, message="canary", id="order-17", metadata={"order": "17"}, wait=20)
        again = sms.send_and_wait(to=TO, message="canary", id="order-17", metadata={"order": "17"}, wait=20)
        other = sms.send_and_wait(to=TO, message="canary, too", id="order-17", wait=20)
        several = sms.send_and_wait(to=[TO, "+18881234567"], message="canary 2", wait=20)

    assert first.is_sent
    assert again == first
    assert first.outcomes[0].metadata == {"order": "17"}
    assert [(one.status, one.error and one.error.name) for one in other.outcomes] == [("invalid", "conflict")]
    assert [one.status for one in several.outcomes] == ["sent", "undeliverable"]
    assert not several.is_sent
    assert provider.texts() == ["canary", "canary 2", "canary 2"]


def test_who_waited_in_vain_learns_it_under_the_same_id(
    env: Mapping[str, str], bridge_process: StartBridge, provider: Provider, vhost_url: str
) -> None:
    # Somebody has to declare what a worker needs, and this one ends before the command comes.
    bridge_process("worker", env=env).stop()
    with Client(vhost_url) as sms:
        with pytest.raises(NoOutcomeYet) as late:
            sms.send_and_wait(to=TO, message="canary", wait=0.2)
        bridge_process("worker", env=env)
        result = sms.send_and_wait(to=TO, message="canary", id=late.value.result.sent.id, wait=20)

    assert result.is_sent
    assert provider.texts() == ["canary"]


def test_who_may_not_send_is_told_in_the_brokers_words(users: Users) -> None:
    with (
        Client(users.url("billing"), timeout=2.0) as sms,
        pytest.raises(NotSent, match=r"'sms\.commands'.*refused"),
    ):
        sms.send(to=TO, message="canary")


def test_who_may_not_have_a_queue_is_told_in_the_brokers_words(users: Users) -> None:
    events = Consumer(users.url("orders"), "billing.sms")
    with events, pytest.raises(QueueRefused, match=r"'billing\.sms\.dead'.*refused"):
        events.run(print)


def test_the_rights_of_the_runbook_are_enough_to_send_and_to_consume(
    users: Users, env: Mapping[str, str], bridge_process: StartBridge, vhost_url: str
) -> None:
    bridge_process("worker", env={**env, **users.env("bridge-worker")})
    ids = [str(uuid.uuid4()) for _ in range(3)]
    handled: list[Event] = []
    events = Consumer(users.url("billing"), "billing.sms", ["sms.outbound.*"])
    with (
        Running(events, handled.append) as running,
        Client(users.url("orders")) as sms,
        BrokerClient(vhost_url) as peer,
    ):
        wait_until(lambda: peer.exists("billing.sms") and peer.consumers("billing.sms"), what="a consumer")
        result = sms.send_and_wait(to=TO, message="canary", id=ids[0], wait=20)
        sms.send_many(Command(to=TO, message="canary", id=one) for one in ids[1:])
        wait_until(lambda: len(handled) == len(ids), 20, what="their events")

    assert running.error is None
    assert result.is_sent
    assert sorted(str(event.subject) for event in handled) == sorted(ids)
