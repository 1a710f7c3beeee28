"""The account's channels and subscriptions, in memory: fills `bridge.ports.Notifying`."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from bridge.adapters.cpaas.values import ProviderChannel, ProviderSubscription
from bridge.domain.answers import ProviderError
from bridge.ports.provider_errors import CallRefused

NUMBER = "+16139998877"
OTHER = "+16139998878"
OURS = "sms-bridge"


class FakeSubscriptions:
    """The subscriptions. A number that is not the account's is refused."""

    def __init__(self, account: FakeAccount) -> None:
        self._account = account
        self.kept: dict[str, ProviderSubscription] = {}
        #: Ids of subscriptions that the list omits.
        self.hidden: set[str] = set()
        #: Whether the list is still empty.
        self.late = False

    def list(self) -> tuple[ProviderSubscription, ...]:
        self._account.asked("list")
        hidden: Any = dict.fromkeys(self.hidden)
        return tuple(replace(one, **hidden) for one in self.kept.values() if not self.late)

    def create(
        self, *, notify: str, number: str | None = None, correlator: str = OURS
    ) -> ProviderSubscription:
        self._account.asked("create")
        if (number or NUMBER) not in self._account.numbers:
            raise CallRefused("the provider refuses the call", ProviderError(name="http", http_status=403))
        made = ProviderSubscription(
            id=f"s{self._account.next()}",
            notify=notify,
            destination_address=number or NUMBER,
            correlator=self._account.shown_correlator(correlator),
        )
        self.kept[made.id] = made
        return made

    def delete(self, subscription_id: str) -> None:
        self._account.asked("delete")
        self.kept.pop(subscription_id, None)


class FakeChannels:
    """The channels."""

    def __init__(self, account: FakeAccount) -> None:
        self._account = account
        self.kept: dict[str, ProviderChannel] = {}
        #: Ids of channels that the list omits.
        self.hidden: set[str] = set()
        #: Whether the list is still empty.
        self.late = False

    def list(self) -> tuple[ProviderChannel, ...]:
        self._account.asked("list")
        hidden: Any = dict.fromkeys(self.hidden)
        return tuple(replace(one, **hidden) for one in self.kept.values() if not self.late)

    def create(
        self, *, webhook_url: str, authorization: str | None, correlator: str = OURS
    ) -> ProviderChannel:
        self._account.asked("create")
        number = self._account.next()
        made = ProviderChannel(
            id=f"c{number}",
            callback=f"wh-{number}",
            type="webhooks",
            webhook_url=webhook_url,
            authorization=authorization,
            correlator=self._account.shown_correlator(correlator),
        )
        self.kept[made.id] = made
        return made

    def delete(self, channel_id: str) -> None:
        self._account.asked("delete")
        self.kept.pop(channel_id, None)


class FakeAccount:
    """The provider's account, as far as notifications need it."""

    def __init__(self) -> None:
        self.numbers = {NUMBER, OTHER}
        #: Whether created resources are shown with their correlators.
        self.echoes = True
        #: The error that every call raises.
        self.broken: Exception | None = None
        self.calls: list[str] = []
        self.closed = False
        self.subscriptions = FakeSubscriptions(self)
        self.channels = FakeChannels(self)
        self._ids = itertools.count()

    def close(self) -> None:
        self.closed = True

    def next(self) -> int:
        return next(self._ids)

    def shown_correlator(self, correlator: str) -> str | None:
        return correlator if self.echoes else None

    def asked(self, what: str) -> None:
        self.calls.append(what)
        if self.broken is not None:
            raise self.broken
