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
    """The channels and subscriptions of the account, by their ids; a subscription outlives its channel."""

    def __init__(self) -> None:
        self._channels: dict[str, SimulatedChannel] = {}
        self.subscriptions: dict[str, SimulatedSubscription] = {}

    def channels(self, now: float) -> dict[str, SimulatedChannel]:
        """Return the channels whose life is not over at `now` (s); the others are forgotten."""
        for channel in list(self._channels.values()):
            if channel.expires_at is not None and channel.expires_at <= now:
                del self._channels[channel.id]
        return self._channels

    def listeners(self, number: str, now: float) -> list[tuple[SimulatedSubscription, SimulatedChannel]]:
        """Return the subscriptions to `number`, and their channels."""
        channels = self.channels(now)
        wanted = [s for s in self.subscriptions.values() if s.number == number and s.channel_id in channels]
        return [(subscription, channels[subscription.channel_id]) for subscription in wanted]
