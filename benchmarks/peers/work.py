"""The work that every peer does for a command, written as their users would: one call, one confirmed event."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid

import requests
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

BROKER = os.environ["BENCH_BROKER"]
PROVIDER = os.environ["BENCH_PROVIDER"]
#: Where the commands are, and what the events are published to: a durable quorum queue, a topic exchange.
QUEUE = os.environ["BENCH_QUEUE"]
EVENTS = os.environ["BENCH_EVENTS"]

_local = threading.local()


def session() -> requests.Session:
    """Return this thread's session, which keeps its connection and asks the environment for nothing."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
        _local.session.trust_env = False
        _local.session.headers["Authorization"] = "Bearer bench"
    return _local.session


@retry(
    retry=retry_if_exception_type(requests.ConnectionError),
    wait=wait_random_exponential(multiplier=0.25, max=2),
    stop=stop_after_attempt(4),
    reraise=True,
)
def send(command: dict) -> dict:
    """Submit the message and return the provider's answer."""
    answer = session().post(
        f"{PROVIDER}/cpaas/smsmessaging/v1/bench/outbound/{command['sender_address']}/requests",
        json={
            "outboundSMSMessageRequest": {
                "address": [command["destination_address"]],
                "clientCorrelator": "bench",
                "outboundSMSTextMessage": {"message": command["message"]},
            }
        },
        timeout=(3, 10),
    )
    answer.raise_for_status()
    return answer.json()["outboundSMSMessageRequest"]


def event_of(command: dict, answer: dict) -> bytes:
    """Return the body of the event with the result of a command."""
    return json.dumps(
        {
            "id": str(uuid.uuid4()),
            "type": "sms.outbound.sent",
            "time": time.time(),
            "data": {
                "command_id": command["id"],
                "message_id": answer["resourceURL"].rpartition("/")[2],
                "destination_address": command["destination_address"],
                "sender_address": answer["senderAddress"],
                "delivery_status": answer["deliveryInfoList"]["deliveryInfo"][0]["deliveryStatus"],
            },
        }
    ).encode()


def command_of(number: int) -> dict:
    """Return a new command."""
    return {
        "id": uuid.uuid4().hex,
        "sender_address": "+16135550100",
        "destination_address": "+16135550123",
        "message": f"hello {number}",
    }
