"""The account behind the simulator, as one thing that the endpoints share, and what happens in it."""

from __future__ import annotations

import json
import uuid
from collections import Counter, deque
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bridge.domain.hosts import is_loopback
from bridge.simulator import notifications
from bridge.simulator.addresses import find_number
from bridge.simulator.alterations import alter
from bridge.simulator.calls import KEPT, RecordedCall
from bridge.simulator.channels import SimulatedSubscriptions
from bridge.simulator.errors import forbidden
from bridge.simulator.faults import FaultPlan
from bridge.simulator.history import SimulatedHistory, SimulatedMessage
from bridge.simulator.journal import Journal
from bridge.simulator.notifier import Notifier, Posting
from bridge.simulator.tokens import IssuedTokens

if TYPE_CHECKING:
    from bridge.ports import Clock
    from bridge.simulator.channels import SimulatedChannel, SimulatedSubscription
    from bridge.simulator.journal import Entry
    from bridge.simulator.settings import SimulatorSettings

SENT = "DeliveredToNetwork"
DELIVERED = "DeliveredToTerminal"
IMPOSSIBLE = "DeliveryImpossible"
#: Destinations that begin like this are accepted and never reached (SPEC section 9).
UNREACHABLE_PREFIX = "+1888"


class Account:
    """Everything the provider knows. Touched by the event loop's thread alone."""

    def __init__(self, settings: SimulatorSettings, clock: Clock) -> None:
        self._initial = settings
        self.settings = settings
        self.clock = clock
        #: How the text of what is accepted just now is altered; None leaves it to the settings.
        self.alteration: str | None = None
        self.tokens = IssuedTokens()
        self.journal = Journal(settings.journal)
        self.notifier = Notifier(lambda: self.settings)
        self._clear()
        for entry in self.journal.entries:
            self._remember(entry)

    def _clear(self) -> None:
        self.numbers = list(self._initial.numbers)
        self.history = SimulatedHistory()
        self.subscriptions = SimulatedSubscriptions()
        self.faults = FaultPlan()
        self.correlators: set[str] = set()
        self.stats: Counter[str] = Counter()
        self.calls: deque[RecordedCall] = deque(maxlen=KEPT)

    def reset(self) -> None:
        """Begin anew, journal included; only the tokens stay, so clients go on."""
        self.settings = self._initial
        self.journal.clear()
        self._clear()

    def local_number(self, address: str) -> str:
        """Return the number of the account that `address` means.

        Raises:
            ApiError: it is not the account's.

        """
        if address in {"default", self.settings.user_id} and self.numbers:
            return self.numbers[0]
        number = find_number(address)
        if number is None or number not in self.numbers:
            raise forbidden()
        return number

    def accept(self, remote: str, local: str, text: str) -> SimulatedMessage:
        """Take a send: written down, then in the history, then posted to its subscribers."""
        entry: Entry = {
            "message_id": new_message_id(),
            "destination_address": remote,
            "sender_address": local,
            "message": text,
            "accepted_at": int(self.clock.now() * 1000),
        }
        self.journal.add(entry)
        message = self._remember(entry)
        self.stats["accepted"] += 1
        self._notify_of(message)
        return message

    def receive(self, remote: str, local: str, text: str, age: float = 0.0) -> SimulatedMessage:
        """Take an inbound SMS that was sent `age` seconds ago: in the history, then posted to its subscribers."""
        message = SimulatedMessage(
            id=new_message_id(),
            direction="Inbound",
            remote=remote,
            local=local,
            text=text,
            status=DELIVERED,
            at=self.clock.now() - age,
            seen=False,
        )
        self.history.add(message, self.settings.history_cap)
        self._notify_of(message)
        return message

    def status_of(self, message: SimulatedMessage) -> str:
        """Return what the account knows now of what became of `message`."""
        after = self.settings.delivered_after
        arrived = after is not None and message.at + after <= self.clock.now()
        return DELIVERED if arrived and message.status == SENT else message.status

    def delete(self, messages: list[SimulatedMessage]) -> None:
        """Delete `messages`, and notify their subscribers."""
        self.history.delete(messages)
        for message in messages:
            note = notifications.of_deletion(self.message_url(message), self.clock.now(), self.settings.units)
            self.notify_subscribers(message.local, note)

    def unassign(self, number: str) -> int:
        """Take `number` from the account, and its subscriptions with it; return how many were notified."""
        self.numbers = [owned for owned in self.numbers if owned != number]
        listeners = self.subscriptions.listeners(number, self.clock.now())
        kept = {id_: one for id_, one in self.subscriptions.subscriptions.items() if one.number != number}
        self.subscriptions.subscriptions = kept
        for subscription, channel in listeners:
            url = self.subscription_url(subscription)
            self.notify(channel, notifications.of_cancellation(url, self.clock.now(), self.settings.units))
        return len(listeners)

    def notify_subscribers(self, number: str, note: dict[str, object]) -> int:
        """Post `note` to everyone who subscribed to `number`; return to how many."""
        listeners = self.subscriptions.listeners(number, self.clock.now())
        for _, channel in listeners:
            self.notify(channel, note)
        return len(listeners)

    def notify(self, channel: SimulatedChannel, note: dict[str, object]) -> None:
        """Post `note` to the webhook of `channel`."""
        kind, inner = next(iter(note.items()), ("", None))
        note_id = inner.get("id") if isinstance(inner, dict) else None
        body = json.dumps(note, ensure_ascii=False, separators=(",", ":")).encode()
        for _ in range(self.settings.notify_copies):
            url, authorization = channel.webhook_url, channel.authorization
            posting = Posting(url=url, authorization=authorization, body=body, type=kind, id=note_id)
            self.notifier.post(posting)

    def may_post_to(self, url: str) -> bool:
        """Return whether a webhook may be there: http or https, and on the loopback unless settings say otherwise."""
        try:
            target = urlsplit(url)
            target.port  # noqa: B018 - reading it is what checks it
        except ValueError:
            return False
        plain = url.isascii() and url.isprintable() and " " not in url
        if target.scheme not in {"http", "https"} or not target.hostname or not plain:
            return False
        return self.settings.external_webhooks or is_loopback(target.hostname)

    def message_url(self, message: SimulatedMessage) -> str:
        """Return the path of a message, as links name it."""
        return f"{self.sms_url}/remoteAddresses/{message.remote}/localAddresses/{message.local}/messages/{message.id}"

    def subscription_url(self, subscription: SimulatedSubscription) -> str:
        """Return the path of a subscription."""
        return f"{self.sms_url}/inbound/subscriptions/{subscription.id}"

    @property
    def sms_url(self) -> str:
        """The path above all of the account's messages."""
        return f"/cpaas/smsmessaging/v1/{self.settings.user_id}"

    def _remember(self, entry: Entry) -> SimulatedMessage:
        remote = entry["destination_address"]
        message = SimulatedMessage(
            id=entry["message_id"],
            direction="Outbound",
            remote=remote,
            local=entry["sender_address"],
            text=alter(entry["message"], self.alteration or self.settings.alter),
            status=IMPOSSIBLE if remote.startswith(UNREACHABLE_PREFIX) else SENT,
            at=entry["accepted_at"] / 1000,
            seen=True,
        )
        self.history.add(message, self.settings.history_cap)
        return message

    def _notify_of(self, message: SimulatedMessage) -> None:
        self.notify_subscribers(
            message.local, notifications.of_message(message, self.clock.now(), self.settings.units)
        )


def new_message_id() -> str:
    """Return an id in the form of the provider's (wire reference 7)."""
    return f"SM{uuid.uuid4().hex[:30].upper()}"
