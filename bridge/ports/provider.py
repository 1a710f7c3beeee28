"""The provider, as far as the bridge uses it: sending, looking at what was sent, and what it is to notify us of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.domain.evidence import HistoryExtract, Window
    from bridge.domain.notification_channels import Channel, Subscription
    from bridge.domain.submissions import Attempted, Submission


class Gateway(Protocol):
    """The provider, as far as sending goes."""

    def send(self, submission: Submission, *, until: float) -> Attempted:
        """Submit and say what became of it; blocks the calling thread.

        Attempts that were certainly not submitted are repeated in process for a short while, and no call is started
        that could still run at `until` (`Clock.monotonic` seconds), nor once the submission has expired. Never raises
        for anything the provider or the network does: that is an answer.
        """
        ...

    def look_up(
        self, submission: Submission, *, window: Window | None, until: float
    ) -> HistoryExtract | None:
        """Read the provider's history for the submission's pair of addresses.

        With a `window` of its attempts, also how much the whole account has, where that matters to what is absent. That
        there is no history of the pair is believed where the account's list of threads is to be had, and says so too.
        Returns None where it is not to be had, within `until` (`Clock.monotonic` seconds). Blocks the calling thread.
        """
        ...

    def probe(self, *, until: float) -> bool:
        """Return whether the provider answers and takes our credentials, by a call that sends nothing."""
        ...


class Channels(Protocol):
    """The notification channels of the account."""

    def list(self) -> Sequence[Channel]:
        """Return all of them."""
        ...

    def create(self, *, webhook_url: str, authorization: str | None) -> Channel:
        """Make a webhook channel; its notifications come with `authorization`."""
        ...

    def delete(self, channel_id: str) -> None:
        """Delete one; one that is not there is deleted already."""
        ...


class Subscriptions(Protocol):
    """The subscriptions of the account."""

    def list(self) -> Sequence[Subscription]:
        """Return all of them."""
        ...

    def create(self, *, notify: str, number: str | None = None) -> Subscription:
        """Have the channel with the callback `notify` told of a number's messages, or of the default number's."""
        ...

    def delete(self, subscription_id: str) -> None:
        """Delete one; one that is not there is deleted already."""
        ...


class Notifying(Protocol):
    """The provider, as far as notifications go. Every call raises what the adapter says."""

    @property
    def channels(self) -> Channels: ...
    @property
    def subscriptions(self) -> Subscriptions: ...

    def close(self) -> None:
        """Close all connections."""
        ...
