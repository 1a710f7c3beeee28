"""An attempt whose effect is not known is reconciled: one SMS, one outcome."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge
    from tests.harness.broker_client import BrokerClient

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

ACCEPTED = ["accept-drop", "accept-hang", "accept-500", "accept-truncate", "accept-garbage", "accept-reset"]
NOT_ACCEPTED = ["drop", "hang", "reset"]


@pytest.fixture
def settings(env: Mapping[str, str]) -> dict[str, str]:
    """Return a bridge that reconciles within seconds."""
    return {**env, "BRIDGE_RECONCILE__SETTLE": "2", "BRIDGE_RECONCILE__SKEW": "30"}


def test_whatever_hides_the_answer_each_command_is_sent_once_and_told_once(
    bridge_process: StartBridge, settings: Mapping[str, str], provider: Provider, amqp: BrokerClient
) -> None:
    bridge_process("worker", env=settings)
    faults = [*ACCEPTED, *NOT_ACCEPTED]
    provider.faults(*({"name": name, "text": f"<{name}>"} for name in faults))
    for name in faults:
        body = {"id": name, "destination_address": "+16131234567", "message": f"<{name}>"}
        amqp.publish(json.dumps(body).encode())
    outcomes = _outcomes(amqp, len(faults))

    assert dict.fromkeys(faults, "sms.outbound.sent") == {name: o["type"] for name, o in outcomes.items()}
    assert sorted(f"<{name}>" for name in faults) == sorted(provider.texts())
    ids = {sent["message"]: sent["message_id"] for sent in provider.journal()}
    for name, outcome in outcomes.items():
        assert ids[f"<{name}>"] == outcome["data"]["message_id"]
        assert outcome["data"]["reconciled"] == (name in ACCEPTED)


def _outcomes(amqp: BrokerClient, number: int) -> dict[str, Any]:
    """Return the outcomes by command id, once there are so many; deferred events are passed over."""
    found: dict[str, Any] = {}
    while len(found) < number:
        for event in amqp.events(1, within=40):
            if event["type"] != "sms.outbound.deferred":
                found[event["subject"]] = event
    return found
