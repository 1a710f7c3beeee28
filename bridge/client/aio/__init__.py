"""The client for asyncio: the names, arguments and errors of `bridge.client`, with methods to await.

    async with Client("amqp://guest:guest@localhost:5672/%2f") as sms:
        await sms.send(to="+16131234567", message="Your code is 123456", id="login-4711")

One separate thread owns the connection, as in `bridge.client`; no call takes a thread.
"""

from bridge.client import (
    AuthenticationError,
    BatchPartiallySent,
    BrokerUnavailable,
    ClientError,
    Closed,
    Command,
    CommandRefused,
    ConfigurationError,
    ConsumerOptions,
    Deferred,
    Discard,
    Event,
    InvalidCommand,
    LoginRefused,
    Message,
    NoOutcomeYet,
    NotSent,
    Options,
    Outcome,
    OutcomeError,
    Problem,
    QueueRefused,
    Receipt,
    Result,
    RetryLater,
    SeenInMemory,
    Sent,
    Unconfirmed,
    Unroutable,
)
from bridge.client.aio.client import Client
from bridge.client.aio.consumer import Consumer, SeenEvents

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
