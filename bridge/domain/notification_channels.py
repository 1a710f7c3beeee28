"""Channels and subscriptions of the provider, as far as they are compared with those that are configured."""

from __future__ import annotations

from typing import Protocol


class Channel(Protocol):
    """Where the provider posts notifications to."""

    @property
    def id(self) -> str: ...
    @property
    def callback(self) -> str: ...
    @property
    def webhook_url(self) -> str | None: ...
    @property
    def authorization(self) -> str | None: ...
    @property
    def correlator(self) -> str | None: ...


class Subscription(Protocol):
    """Which channel is told of a number's messages, by the channel's callback."""

    @property
    def id(self) -> str: ...
    @property
    def notify(self) -> str | None: ...
    @property
    def destination_address(self) -> str | None: ...
    @property
    def correlator(self) -> str | None: ...
