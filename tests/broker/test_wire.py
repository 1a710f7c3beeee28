"""What the benchmarks publish and take off as bytes is what a client library sees."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import amqp as py_amqp
import pytest

from benchmarks.field import QUORUM
from benchmarks.wire import WINDOW, Wire
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from tests.harness.broker import Broker

pytestmark = pytest.mark.broker


def test_more_than_a_window_is_published_confirmed_and_taken_off(rabbitmq: Broker, vhost: str) -> None:
    number = WINDOW + 700
    bodies = [json.dumps({"number": one}).encode() for one in range(number)]
    confirmed: list[int] = []
    with py_amqp.Connection(f"127.0.0.1:{rabbitmq.port}", virtual_host=vhost) as connection:
        channel = connection.channel()
        channel.queue_declare("wire", durable=True, auto_delete=False, arguments=QUORUM)
        with Wire(rabbitmq.port, vhost) as wire:
            wire.publish("", "wire", bodies, confirmed.append)
        first = channel.basic_get("wire")
        channel.basic_reject(first.delivery_tag, requeue=True)
        with Wire(rabbitmq.port, vhost) as wire:
            wire.drain("wire", number)
        # The connection is not closed in order: its last acknowledgement may be on its way.
        wait_until(
            lambda: channel.queue_declare("wire", passive=True).message_count == 0, what="an empty queue"
        )

    assert (first.body, first.properties["delivery_mode"]) == (b'{"number": 0}', 2)
    assert first.properties["content_type"] == "application/json"
    assert sum(confirmed) == number
