"""Dead letters as they lie on a real broker: whatever somebody once published can be read and sent back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.adapters.amqp.dead_letter_queue import DeadLetters
from bridge.adapters.clock import SystemClock
from bridge.domain.deliveries import copy_of
from tests.broker.amqp_setup import NAMES, address, make_command_queue

if TYPE_CHECKING:
    from bridge.domain.messages import Delivery, Outgoing
    from tests.harness.broker_client import BrokerClient

pytestmark = pytest.mark.broker

#: With it the properties fill a frame; nothing can be added.
FULL = {"x-huge": "h" * 130_900}


@pytest.fixture
def letters(amqp: BrokerClient) -> DeadLetters:
    """Return the dead letters of a broker that has both queues."""
    amqp.declare_queue(NAMES.dead_queue, {"x-queue-type": "quorum"})
    make_command_queue(amqp)
    return DeadLetters(address(amqp.url), NAMES, SystemClock())


def back(delivery: Delivery) -> Outgoing:
    """Return the copy that goes to the command queue, with a header more."""
    headers = {**delivery.headers, "x-bridge-replay": "r" * 300}
    return copy_of(delivery, exchange="", routing_key=NAMES.command_queue, headers=headers)


def test_a_letter_without_a_body_is_read_sent_back_and_thrown_away(
    letters: DeadLetters, amqp: BrokerClient
) -> None:
    for _ in range(2):
        amqp.publish(b"", exchange="", routing_key=NAMES.dead_queue)
    read = [letter.body for letter in letters.read()]
    (first, *_) = letters.send_back(back)

    assert read == [b"", b""]
    assert first.body == b""
    assert [message.body for message in amqp.take(NAMES.command_queue, 2)] == [b"", b""]
    amqp.publish(b"", exchange="", routing_key=NAMES.dead_queue)
    assert [letter.body for letter in letters.delete(lambda _: True)] == [b""]


def test_a_letter_whose_headers_fill_a_frame_goes_back_with_the_bridges_own(
    letters: DeadLetters, amqp: BrokerClient
) -> None:
    amqp.publish(b"full", exchange="", routing_key=NAMES.dead_queue, headers=FULL, message_id="m")
    amqp.publish(b"next", exchange="", routing_key=NAMES.dead_queue)
    sent = [letter.body for letter in letters.send_back(back)]
    full, following = amqp.take(NAMES.command_queue, 2)

    assert sent == [b"full", b"next"]
    assert (full.body, full.properties["message_id"]) == (b"full", "m")
    assert full.headers["x-bridge-replay"] == "r" * 300
    assert "x-huge" not in full.headers
    assert following.body == b"next"
    assert amqp.depth(NAMES.dead_queue) == 0
