"""A service that publishes commands on one channel, as long as its connection lives."""

from __future__ import annotations

import itertools
from typing import Self
from urllib.parse import urlsplit

import amqp
from amqp.exceptions import AMQPError

from tests.harness.broker_client import LIST, TIMEOUT


class RegularPublisher:
    """Publishes one command at a time, each confirmed, and turns to the next node after an error.

    A publisher that opens a channel for each message stalls with a node that is frozen: the first publish of a
    channel to a queue waits for the queue's old leader until the broker gives that node up, also after an election.
    """

    def __init__(self, url: str) -> None:
        """Prepare for a list of URLs, as the bridge takes it."""
        self._nodes = itertools.cycle(url.split(LIST))
        self._connection: amqp.Connection | None = None
        self._channel: amqp.Channel | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def publish(self, body: bytes) -> None:
        """Publish a command and wait for the confirm.

        Raises:
            OSError, amqp.exceptions.AMQPError: it may or may not have been stored.

        """
        if self._channel is None:
            self._connect()
        assert self._channel is not None
        message = amqp.Message(body, content_type="application/json", delivery_mode=2)
        self._channel.basic_publish_confirm(
            message, "sms.commands", "send", mandatory=True, timeout=TIMEOUT, confirm_timeout=TIMEOUT
        )

    def close(self) -> None:
        """Close the connection without a word: its node may not answer."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            connection.collect()

    def _connect(self) -> None:
        parts = urlsplit(next(self._nodes))
        self._connection = amqp.Connection(
            f"{parts.hostname}:{parts.port}", parts.username, parts.password, virtual_host=parts.path[1:],
            confirm_publish=True, connect_timeout=TIMEOUT, read_timeout=TIMEOUT, write_timeout=TIMEOUT,
        )  # fmt: skip
        self._connection.connect()
        self._channel = self._connection.channel()
        self._channel.events["basic_return"].add(_unrouted)


def _unrouted(*_: object) -> None:
    raise AMQPError("no queue is bound for commands")
