"""FastAPI and aio-pika: a webhook is an event once the broker has confirmed it."""

from __future__ import annotations

import hmac
import json
import os
import uuid
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aio_pika
from fastapi import FastAPI, Request, Response

BROKER = os.environ["BENCH_BROKER"]
EVENTS = os.environ["BENCH_EVENTS"]
SECRET = os.environ["BENCH_SECRET"].encode()
exchange: aio_pika.abc.AbstractExchange


@asynccontextmanager
async def lifespan(_: FastAPI):
    """Connect to the broker."""
    global exchange
    connection = await aio_pika.connect_robust(BROKER)
    channel = await connection.channel(publisher_confirms=True)
    exchange = await channel.declare_exchange(EVENTS, aio_pika.ExchangeType.TOPIC, durable=True)
    yield
    await connection.close()


app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)


@app.post("/inbound-sms/webhook")
async def webhook(request: Request) -> Response:
    """Check who it is, read it, publish it."""
    if not hmac.compare_digest(request.headers.get("authorization", "").encode(), SECRET):
        return Response(status_code=401)
    message = json.loads(await request.body())["inboundSMSMessageNotification"]["inboundSMSMessage"]
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
    await exchange.publish(
        aio_pika.Message(
            json.dumps(event).encode(),
            content_type="application/cloudevents+json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=event["id"],
        ),
        routing_key=event["type"],
    )
    return Response(status_code=204)
