"""Notification channels and the subscriptions that use them (wire reference 4.5 and 6)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class SimulatedChannel:
    """A webhook, and what its notifications carry as `Authorization`."""

    id: str = field(default_factory=lambda: f"wh-{uuid.uuid4()}")
    webhook_url: str
    authorization: str | None = field(default=None, repr=False)
    #: As it was written: the spelling of its case is echoed.
    type: str
    correlator: object
    #: Seconds since the epoch; None where no lifetime was ever set.
    expires_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSubscription:
    """The wish to hear of the messages of one number."""

    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    channel_id: str
    number: str
    correlator: object


class SimulatedSubscriptions:
    """The channels and subscriptions of the account."""

    def __init__(self) -> None:
        self._channels: dict[str, SimulatedChannel] = {}
        self._subscriptions: dict[str, SimulatedSubscription] = {}

    def open(self, channel: SimulatedChannel) -> None:
        """Keep a new channel."""
        self._channels[channel.id] = channel

    def channels(self, now: float) -> list[SimulatedChannel]:
        """Return the channels whose life is not over at `now` (s); the others are forgotten."""
        expired = [c.id for c in self._channels.values() if c.expires_at is not None and c.expires_at <= now]
        for channel_id in expired:
            del self._channels[channel_id]
        return list(self._channels.values())

    def channel(self, channel_id: str, now: float) -> SimulatedChannel | None:
        """Return one channel, where it lives."""
        return next((channel for channel in self.channels(now) if channel.id == channel_id), None)

    def close(self, channel_id: str) -> bool:
        """Forget a channel, not the subscriptions that name it; say whether there was one."""
        return self._channels.pop(channel_id, None) is not None

    def subscribe(self, subscription: SimulatedSubscription) -> None:
        """Keep a new subscription; a second one like it is a second one."""
        self._subscriptions[subscription.id] = subscription

    def all(self) -> list[SimulatedSubscription]:
        """Return the subscriptions in the order they were made."""
        return list(self._subscriptions.values())

    def get(self, subscription_id: str) -> SimulatedSubscription | None:
        """Return one subscription."""
        return self._subscriptions.get(subscription_id)

    def unsubscribe(self, subscription_id: str) -> SimulatedSubscription | None:
        """Forget a subscription and return it, where there was one."""
        return self._subscriptions.pop(subscription_id, None)

    def listeners(self, number: str, now: float) -> list[tuple[SimulatedSubscription, SimulatedChannel]]:
        """Return who wants to hear of `number`, and where."""
        channels = {channel.id: channel for channel in self.channels(now)}
        wanted = [s for s in self._subscriptions.values() if s.number == number and s.channel_id in channels]
        return [(subscription, channels[subscription.channel_id]) for subscription in wanted]
