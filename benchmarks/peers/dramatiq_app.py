"""Dramatiq: threads, quorum queue, one confirmed event for each message."""

from __future__ import annotations

import sys
import threading

import dramatiq
import pika
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from work import BROKER, EVENTS, QUEUE, command_of, event_of, send


class QuorumBroker(RabbitmqBroker):
    """Declares its queues as quorum queues, which keep no message of which a confirm was given on one disk alone."""

    def _build_queue_arguments(self, queue_name: str) -> dict:
        return {**super()._build_queue_arguments(queue_name), "x-queue-type": "quorum"}


broker = QuorumBroker(url=BROKER, confirm_delivery=True, middleware=[])
dramatiq.set_broker(broker)
_local = threading.local()


def channel() -> pika.adapters.blocking_connection.BlockingChannel:
    """Return this thread's channel, which waits for confirms."""
    if not hasattr(_local, "channel"):
        _local.connection = pika.BlockingConnection(pika.URLParameters(BROKER + "?heartbeat=0"))
        _local.channel = _local.connection.channel()
        _local.channel.confirm_delivery()
    return _local.channel


@dramatiq.actor(queue_name=QUEUE)
def send_sms(command: dict) -> None:
    """Send the message and publish the event."""
    answer = send(command)
    channel().basic_publish(
        EVENTS,
        "sms.outbound.sent",
        event_of(command, answer),
        pika.BasicProperties(delivery_mode=2, content_type="application/json"),
    )


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        send_sms.send(command_of(number))
