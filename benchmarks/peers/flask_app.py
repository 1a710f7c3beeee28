"""Flask and kombu under gunicorn's threads: a webhook is an event once the broker has confirmed it."""

from __future__ import annotations

import json

from flask import Flask, Response, request
from kombu import Connection, Exchange
from kombu.pools import producers

from notification import BROKER, EVENTS, event_of, is_allowed

events = Exchange(EVENTS, type="topic", durable=True)
connection = Connection(BROKER, transport_options={"confirm_publish": True})
app = Flask(__name__)


@app.post("/inbound-sms/webhook")
def webhook() -> Response:
    """Check who it is, read it, publish it."""
    if not is_allowed(request.headers.get("authorization", "")):
        return Response(status=401)
    event = event_of(request.get_json())
    with producers[connection].acquire(block=True) as producer:
        producer.publish(
            json.dumps(event),
            exchange=events,
            routing_key=event["type"],
            content_type="application/cloudevents+json",
            content_encoding="utf-8",
            delivery_mode=2,
            message_id=event["id"],
        )
    return Response(status=204)
