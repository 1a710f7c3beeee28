"""Subscriptions to messages, and the channels that receive them (wire reference 4.5 and 6)."""

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

    from bridge.adapters.cpaas.json_api import JsonApi
    from bridge.adapters.cpaas.values import ProviderChannel, ProviderSubscription


_Found = TypeVar("_Found")


class SubscriptionCalls:
    """Subscriptions to inbound messages. Every method raises `CpaasError`."""

    def __init__(self, api: JsonApi, correlator: str) -> None:
        self._api = api
        self._correlator = correlator

    def list(self) -> tuple[ProviderSubscription, ...]:
        """Return all subscriptions of the account."""
        return read_subscriptions(self._api.request("GET", _subscription_path()))

    def get(self, subscription_id: str) -> ProviderSubscription:
        """Return one subscription."""
        return _one(read_subscriptions(self._api.request("GET", _subscription_path(subscription_id))))

    def create(self, *, notify: str, number: str | None = None) -> ProviderSubscription:
        """Subscribe the channel with the callback `notify` to the messages of `number`, or of the default number."""
        body = subscription_body(notify, number, self._correlator)
        return _one(read_subscriptions(self._api.request("POST", _subscription_path(), body=body)))

    def delete(self, subscription_id: str) -> None:
        """Delete a subscription; a missing one counts as deleted."""
        self._api.delete(_subscription_path(subscription_id))


class ChannelCalls:
    """Channels that notifications are posted to. Every method raises `CpaasError`."""

    def __init__(self, api: JsonApi, correlator: str) -> None:
        self._api = api
        self._correlator = correlator

    def list(self) -> tuple[ProviderChannel, ...]:
        """Return all channels of the account."""
        return read_channels(self._api.request("GET", _channel_path()))

    def get(self, channel_id: str) -> ProviderChannel:
        """Return one channel."""
        return _one(read_channels(self._api.request("GET", _channel_path(channel_id))))

    def create(self, *, webhook_url: str, authorization: str | None) -> ProviderChannel:
        """Create a webhook channel; its notifications have `authorization` as their ``Authorization`` header."""
        body = channel_body(webhook_url, authorization, self._correlator)
        return _one(read_channels(self._api.request("POST", _channel_path(), body=body)))

    def delete(self, channel_id: str) -> None:
        """Delete a channel; a missing one counts as deleted."""
        self._api.delete(_channel_path(channel_id))


def _one(found: tuple[_Found, ...]) -> _Found:
    """Return the first of the resources in a response."""
    if not found:
        raise Unreadable("the provider's response has no id", ProviderError(name="http", http_status=200))
    return found[0]


def _subscription_path(*parts: str) -> Callable[[str], str]:
    return lambda user_id: sms(user_id, "inbound", "subscriptions", *parts)


def _channel_path(*parts: str) -> Callable[[str], str]:
    return lambda user_id: channels(user_id, *parts)
