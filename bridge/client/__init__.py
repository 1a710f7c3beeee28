"""SMS Bridge from another service: send commands, consume events. See docs/client.md.

    with Client("amqp://guest:guest@localhost:5672//") as sms:
        sms.send(to="+16131234567", message="Your code is 123456", id="login-4711")

Needs a broker and nothing else of the bridge: no configuration, no ledger, no account.
"""

from bridge.client.commands import Command
from bridge.client.consuming import Consumer, NotNow, Reject
from bridge.client.errors import (
    BrokerAway,
    ClientError,
    Closed,
    InvalidCommand,
    NoOutcomeYet,
    NotSent,
    PartlySent,
    QueueRefused,
    Refused,
    Unconfirmed,
    Unroutable,
)
from bridge.client.events import Deferred, Event, Message, Outcome, Problem, Receipt
from bridge.client.options import Options
from bridge.client.results import Result, Sent
from bridge.client.seen import SeenEvents, SeenInMemory
from bridge.client.sending import Client

__all__ = [
    "BrokerAway",
    "Client",
    "ClientError",
    "Closed",
    "Command",
    "Consumer",
    "Deferred",
    "Event",
    "InvalidCommand",
    "Message",
    "NoOutcomeYet",
    "NotNow",
    "NotSent",
    "Options",
    "Outcome",
    "PartlySent",
    "Problem",
    "QueueRefused",
    "Receipt",
    "Refused",
    "Reject",
    "Result",
    "SeenEvents",
    "SeenInMemory",
    "Sent",
    "Unconfirmed",
    "Unroutable",
]
