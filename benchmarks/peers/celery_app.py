"""Celery, threads: acknowledges late, quorum queue, one confirmed event for each task."""

from __future__ import annotations

import sys

from celery import Celery
from kombu import Connection, Exchange, Queue
from kombu.pools import producers
from work import BROKER, EVENTS, QUEUE, command_of, event_of, send

app = Celery("bench", broker=BROKER)
app.conf.update(
    task_queues=[
        Queue(QUEUE, Exchange(QUEUE), routing_key=QUEUE, queue_arguments={"x-queue-type": "quorum"})
    ],
    task_default_queue=QUEUE,
    task_default_exchange=QUEUE,
    task_default_routing_key=QUEUE,
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=2,
    worker_detect_quorum_queues=True,
    broker_transport_options={"confirm_publish": True},
    worker_hijack_root_logger=False,
)
events = Exchange(EVENTS, type="topic", durable=True)
connection = Connection(BROKER, transport_options={"confirm_publish": True})


@app.task(name="send_sms")
def send_sms(command: dict) -> None:
    """Send the message and publish the event."""
    answer = send(command)
    with producers[connection].acquire(block=True) as producer:
        producer.publish(
            event_of(command, answer),
            exchange=events,
            routing_key="sms.outbound.sent",
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=2,
            retry=True,
        )


if __name__ == "__main__":
    with app.producer_pool.acquire(block=True) as producer:
        for number in range(int(sys.argv[1])):
            send_sms.apply_async((command_of(number),), producer=producer)
