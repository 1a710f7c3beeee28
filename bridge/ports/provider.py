"""The ports to the provider: sending, history lookups, channels and subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.domain.evidence import HistoryExtract, Window
    from bridge.domain.notification_channels import Channel, Subscription
    from bridge.domain.submissions import Attempted, Submission


class Gateway(Protocol):
    """The provider's API for sending."""

    def send(self, submission: Submission, *, until: float) -> Attempted:
        """Submit, and return the result; blocks the calling thread.

        Attempts that certainly sent nothing are repeated for a short time. No call is started that could still run at
        `until` (`Clock.monotonic` seconds), nor after the submission has expired. Errors of the provider and the
        network are returned as answers, never raised.
        """
        ...

    def look_up(
        self, submission: Submission, *, window: Window | None, until: float
    ) -> HistoryExtract | None:
        """Read the provider's history for the submission's pair of addresses.

        With a `window` of its attempts, the number of messages of the whole account is read too, if the result "not
        found" depends on it. A missing history of the pair is accepted only if the account's list of threads confirms
        it. Returns None if the history cannot be read before `until` (`Clock.monotonic` seconds). Blocks the calling
        thread.
        """
        ...

    def probe(self, *, until: float) -> bool:
        """Return whether the provider answers and accepts the credentials, with a call that sends nothing."""
        ...


class Channels(Protocol):
    """The notification channels of the account."""

    def list(self) -> Sequence[Channel]:
        """Return all."""
        ...

    def create(self, *, webhook_url: str, authorization: str | None) -> Channel:
        """Create a webhook channel; its notifications have `authorization` as their header."""
        ...

    def delete(self, channel_id: str) -> None:
        """Delete one; a missing one counts as deleted."""
        ...


class Subscriptions(Protocol):
    """The subscriptions of the account."""

    def list(self) -> Sequence[Subscription]:
        """Return all."""
        ...

    def create(self, *, notify: str, number: str | None = None) -> Subscription:
        """Subscribe the channel with the callback `notify` to the messages of a number, or of the default number."""
        ...

    def delete(self, subscription_id: str) -> None:
        """Delete one; a missing one counts as deleted."""
        ...


class Notifying(Protocol):
    """The provider's API for notifications. Calls raise the errors of `bridge.ports.provider_errors`."""

    @property
    def channels(self) -> Channels: ...
    @property
    def subscriptions(self) -> Subscriptions: ...

    def close(self) -> None:
        """Close all connections."""
        ...
