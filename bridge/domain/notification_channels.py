"""Channels and subscriptions of the provider: the fields that are compared with the configuration."""

from __future__ import annotations

from typing import Protocol


class Channel(Protocol):
    """A webhook to which the provider posts notifications."""

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
    """The registration that sends a number's notifications to a channel, named by its callback."""

    @property
    def id(self) -> str: ...
    @property
    def notify(self) -> str | None: ...
    @property
    def destination_address(self) -> str | None: ...
    @property
    def correlator(self) -> str | None: ...
