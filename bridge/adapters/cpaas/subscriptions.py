"""Who is told of messages: subscriptions, and the channels they use (wire reference 4.5 and 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from bridge.adapters.cpaas.codec import (
    channel_body,
    channels,
    sms,
    subscription_body,
)
from bridge.adapters.cpaas.values import read_channels, read_subscriptions
from bridge.domain.answers import ProviderError
from bridge.ports.provider_errors import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.cpaas.asker import Asker
    from bridge.adapters.cpaas.values import ProviderChannel, ProviderSubscription


_Found = TypeVar("_Found")


class SubscriptionCalls:
    """Subscriptions to inbound messages. Every method raises `CpaasError`."""

    def __init__(self, asker: Asker, correlator: str) -> None:
        self._asker = asker
        self._correlator = correlator

    def list(self) -> tuple[ProviderSubscription, ...]:
        """Return all subscriptions of the account."""
        return read_subscriptions(self._asker.ask("GET", _subscription_path()))

    def get(self, subscription_id: str) -> ProviderSubscription:
        """Return one subscription."""
        return _one(read_subscriptions(self._asker.ask("GET", _subscription_path(subscription_id))))

    def create(self, *, notify: str, number: str | None = None) -> ProviderSubscription:
        """Have the channel with the callback `notify` told of `number`'s messages, or of the default number's."""
        body = subscription_body(notify, number, self._correlator)
        return _one(read_subscriptions(self._asker.ask("POST", _subscription_path(), body=body)))

    def delete(self, subscription_id: str) -> None:
        """Delete a subscription; one that is not there is deleted already."""
        self._asker.delete(_subscription_path(subscription_id))


class ChannelCalls:
    """Channels that notifications are posted to. Every method raises `CpaasError`."""

    def __init__(self, asker: Asker, correlator: str) -> None:
        self._asker = asker
        self._correlator = correlator

    def list(self) -> tuple[ProviderChannel, ...]:
        """Return all channels of the account."""
        return read_channels(self._asker.ask("GET", _channel_path()))

    def get(self, channel_id: str) -> ProviderChannel:
        """Return one channel."""
        return _one(read_channels(self._asker.ask("GET", _channel_path(channel_id))))

    def create(self, *, webhook_url: str, authorization: str | None) -> ProviderChannel:
        """Make a webhook channel; notifications then come with `authorization` as their ``Authorization`` header."""
        body = channel_body(webhook_url, authorization, self._correlator)
        return _one(read_channels(self._asker.ask("POST", _channel_path(), body=body)))

    def delete(self, channel_id: str) -> None:
        """Delete a channel; one that is not there is deleted already."""
        self._asker.delete(_channel_path(channel_id))


def _one(found: tuple[_Found, ...]) -> _Found:
    """Return the first of what was read."""
    if not found:
        raise Unreadable("the provider's answer names no id", ProviderError(name="http", http_status=200))
    return found[0]


def _subscription_path(*parts: str) -> Callable[[str], str]:
    return lambda user_id: sms(user_id, "inbound", "subscriptions", *parts)


def _channel_path(*parts: str) -> Callable[[str], str]:
    return lambda user_id: channels(user_id, *parts)
