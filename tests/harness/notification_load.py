"""A flood of notifications, and what became of them: those answered 2xx, the spool, the events."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.harness.waiting import wait_until
from tests.harness.webhook import Webhook, inbound, inbound_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.harness.broker_client import BrokerClient
    from tests.harness.processes import BridgeProcess


@dataclass(slots=True)
class NotificationLoad:
    """Notifications posted by a few clients, one after the other each, until it ends."""

    webhook: Webhook
    clients: int = 4
    #: Where the same provider posts to as well: each in turn.
    others: Sequence[Webhook] = ()
    #: Seconds between two posts of a client.
    pause: float = 0.0
    #: Message id, status, when it was posted, and how long the answer took.
    answers: list[tuple[str, int, float, float]] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> NotificationLoad:
        self._threads = [
            threading.Thread(target=self._post, args=(client,)) for client in range(self.clients)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _post(self, client: int) -> None:
        webhooks = itertools.cycle([self.webhook, *self.others])
        number = 0
        while not self._over.is_set():
            message_id = f"m-{client}-{number}"
            began = time.monotonic()
            try:
                status = next(webhooks).post(inbound(message_id)).status
            except (OSError, http.client.HTTPException):
                # Nobody listens, or whoever listened is dead.
                status = 0
                self._over.wait(0.02)
            self.answers.append((message_id, status, began, time.monotonic() - began))
            number += 1
            self._over.wait(self.pause)

    def wait(self, more: int) -> None:
        """Wait for that many more answers."""
        enough = len(self.answers) + more
        wait_until(lambda: len(self.answers) >= enough, 30, what="answers")

    def accepted(self) -> set[str]:
        """Return the ids of the messages that were answered 204."""
        return {message_id for message_id, status, *_ in self.answers if status == 204}

    def after(self, moment: float) -> list[float]:
        """Return how long each answer took that was not yet there at `moment`, from then on."""
        return [
            took - max(0.0, moment - began) for _, _, began, took in self.answers if began + took > moment
        ]


def post_to_all(webhooks: Sequence[Webhook], message_ids: Sequence[str]) -> list[list[int]]:
    """Post each notification to all webhooks at once; return the statuses of each webhook."""
    at_once = threading.Barrier(len(webhooks))

    def post(webhook: Webhook) -> list[int]:
        statuses = []
        for message_id in message_ids:
            at_once.wait(60)
            statuses.append(webhook.post(inbound(message_id)).status)
        return statuses

    with ThreadPoolExecutor() as pool:
        return list(pool.map(post, webhooks))


def metric(process: BridgeProcess, name: str) -> float:
    """Return a metric without labels."""
    for line in process.admin("/metrics")[1].splitlines():
        if line.startswith(f"sms_bridge_{name} "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")


def spooled(process: BridgeProcess) -> float:
    """Return how many events are in the spool."""
    return metric(process, "spool_events")


def collect(amqp: BrokerClient, message_ids: Iterable[str], within: float = 30) -> list[Any]:
    """Take events until all of these messages are among them; returns all that came."""
    missing, messages = set(message_ids), []

    def all_there() -> bool:
        while message := amqp.get("test.events"):
            messages.append(message)
            missing.discard(message.json["data"]["message_id"])
        return not missing

    wait_until(all_there, within, every=0.1, what="every event")
    return messages


def assert_one_event_each(messages: list[Any], message_ids: Iterable[str]) -> None:
    """Check that every message is an event under its one id, and that copies are byte for byte the same."""
    bodies: dict[str, set[bytes]] = {}
    for message in messages:
        data = message.json["data"]

        assert message.properties["message_id"] == inbound_id(data["message_id"], data["message"])

        bodies.setdefault(data["message_id"], set()).add(message.body)

    assert set(message_ids) <= bodies.keys()
    assert {len(copies) for copies in bodies.values()} == {1}
