"""Flask and kombu under gunicorn's threads: a webhook is an event once the broker has confirmed it."""

from __future__ import annotations

import hmac
import json
import os
import uuid
from datetime import UTC, datetime

from flask import Flask, Response, request
from kombu import Connection, Exchange
from kombu.pools import producers

BROKER = os.environ["BENCH_BROKER"]
SECRET = os.environ["BENCH_SECRET"].encode()
events = Exchange(os.environ["BENCH_EVENTS"], type="topic", durable=True)
connection = Connection(BROKER, transport_options={"confirm_publish": True})
app = Flask(__name__)


@app.post("/inbound-sms/webhook")
def webhook() -> Response:
    """Check who it is, read it, publish it."""
    if not hmac.compare_digest(request.headers.get("authorization", "").encode(), SECRET):
        return Response(status=401)
    message = request.get_json()["inboundSMSMessageNotification"]["inboundSMSMessage"]
    event = {
        "specversion": "1.0",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, message["messageId"])),
        "type": "sms.inbound.received",
        "source": "/bench",
        "time": datetime.now(UTC).isoformat(),
        "data": {
            "message_id": message["messageId"],
            "sender_address": message["senderAddress"],
            "destination_address": message["destinationAddress"],
            "message": message["message"],
        },
    }
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
