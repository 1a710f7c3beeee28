"""SMS Bridge from another service: send commands, consume events. See docs/client.md.

    with Client("amqp://guest:guest@localhost:5672/%2f") as sms:
        sms.send(to="+16131234567", message="Your code is 123456", id="login-4711")

Needs a broker and nothing else of the bridge: no configuration, no ledger, no account.
"""

from bridge.client.client import Client
from bridge.client.commands import Command
from bridge.client.consumer import Consumer
from bridge.client.errors import (
    AuthenticationError,
    BatchPartiallySent,
    BrokerUnavailable,
    ClientError,
    Closed,
    CommandRefused,
    ConfigurationError,
    InvalidCommand,
    LoginRefused,
    NoOutcomeYet,
    NotSent,
    OutcomeError,
    QueueRefused,
    Unconfirmed,
    Unroutable,
)
from bridge.client.events import Deferred, Event, Message, Outcome, Problem, Receipt
from bridge.client.handler import ConsumerOptions, Discard, RetryLater
from bridge.client.options import Options
from bridge.client.results import Result, Sent
from bridge.client.seen import SeenEvents, SeenInMemory

__all__ = [
    "AuthenticationError",
    "BatchPartiallySent",
    "BrokerUnavailable",
    "Client",
    "ClientError",
    "Closed",
    "Command",
    "CommandRefused",
    "ConfigurationError",
    "Consumer",
    "ConsumerOptions",
    "Deferred",
    "Discard",
    "Event",
    "InvalidCommand",
    "LoginRefused",
    "Message",
    "NoOutcomeYet",
    "NotSent",
    "Options",
    "Outcome",
    "OutcomeError",
    "Problem",
    "QueueRefused",
    "Receipt",
    "Result",
    "RetryLater",
    "SeenEvents",
    "SeenInMemory",
    "Sent",
    "Unconfirmed",
    "Unroutable",
]
