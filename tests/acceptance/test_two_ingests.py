"""Two ingests behind one balancer: the provider's repeat may reach the other one while the first still publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.notification_load import assert_one_event_each, collect, post_to_all
from tests.harness.webhook import Webhook, listening_port

if TYPE_CHECKING:
    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge
    from tests.harness.broker_client import BrokerClient

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

#: Notifications that are posted to both.
NUMBER = 200


def test_a_notification_that_reaches_two_ingests_at_once_is_the_same_bytes_from_both(
    bridge_process: StartBridge, amqp: BrokerClient, env: dict[str, str], provider: Provider
) -> None:
    ids = [f"m{number}" for number in range(NUMBER)]
    both = [bridge_process("ingest", env={**env, "BRIDGE_INGEST__PORT": "0"}) for _ in range(2)]
    webhooks = [Webhook(port=listening_port(ingest)) for ingest in both]
    answers = post_to_all(webhooks, ids)
    messages = collect(amqp, ids)

    assert answers == [[204] * NUMBER] * len(both)
    # Otherwise neither has published what the other did.
    assert len(messages) > NUMBER
    assert_one_event_each(messages, ids)
