"""A plain kombu consumer in one thread, as a script would have it."""

from __future__ import annotations

import json
import sys

from kombu import Connection, Exchange, Producer, Queue
from kombu.mixins import ConsumerMixin
from work import BROKER, EVENTS, QUEUE, command_of, event_of, send

queue = Queue(QUEUE, Exchange(QUEUE), routing_key=QUEUE, queue_arguments={"x-queue-type": "quorum"})
events = Exchange(EVENTS, type="topic", durable=True)


class Consumer(ConsumerMixin):
    """Takes a command, sends, publishes, acknowledges."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.messages = Connection(BROKER, transport_options={"confirm_publish": True})
        self.producer = Producer(self.messages.channel(), exchange=events)

    def get_consumers(self, consumer, channel):
        """Consume the one queue."""
        return [consumer([queue], callbacks=[self.work], prefetch_count=32, accept=["json"])]

    def work(self, body, message) -> None:
        """Do one command's work."""
        answer = send(body)
        self.producer.publish(
            event_of(body, answer),
            routing_key="sms.outbound.sent",
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=2,
        )
        message.ack()


if __name__ == "__main__":
    with Connection(BROKER, transport_options={"confirm_publish": True}) as connection:
        if len(sys.argv) > 1:
            producer = Producer(connection.channel())
            for number in range(int(sys.argv[1])):
                producer.publish(
                    json.dumps(command_of(number)),
                    exchange=queue.exchange,
                    routing_key=QUEUE,
                    declare=[queue],
                    content_type="application/json",
                    content_encoding="utf-8",
                    delivery_mode=2,
                )
        else:
            Consumer(connection).run()
