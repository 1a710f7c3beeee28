"""FastAPI and aio-pika: a webhook is an event once the broker has confirmed it."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import aio_pika
from fastapi import FastAPI, Request, Response

from notification import BROKER, EVENTS, event_of, is_allowed

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
    if not is_allowed(request.headers.get("authorization", "")):
        return Response(status_code=401)
    event = event_of(json.loads(await request.body()))
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
