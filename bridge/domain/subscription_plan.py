"""Plan of channels and subscriptions: those to keep, to create and to remove.

Only objects with the configured correlator are the bridge's own; others are neither used nor changed. An own channel is
*right* while it posts to the configured URL with a configured authorization, else it is *stale*. An object is removed
only after its replacement exists.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from bridge.domain.addresses import parse_address
from bridge.domain.errors import InvalidAddress

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from bridge.domain.notification_channels import Channel, Subscription

#: ``leave`` marks objects that `prune` would remove, ``fail`` steps that failed.
Action: TypeAlias = Literal["keep", "make", "remove", "leave", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """The configured channel and numbers."""

    #: The ``clientCorrelator`` of the bridge's own objects.
    correlator: str
    webhook_url: str = field(repr=False)
    #: The accepted authorizations; a new channel gets the first. Empty: notifications have none.
    authorizations: tuple[str, ...] = field(default=(), repr=False)
    #: In E.164, without duplicates. Empty: the account's default number.
    numbers: tuple[str, ...] = field(default=(), repr=False)

    @property
    def targets(self) -> tuple[str | None, ...]:
        """The numbers to subscribe to; None stands for the default number."""
        return self.numbers or (None,)

    @property
    def authorization(self) -> str | None:
        """The authorization of a new channel."""
        return self.authorizations[0] if self.authorizations else None

    def strictly(self) -> Declared:
        """Return a copy with only the first authorization."""
        return replace(self, authorizations=self.authorizations[:1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """All channels and subscriptions at the provider, including those of other applications."""

    channels: Sequence[Channel]
    subscriptions: Sequence[Subscription]

    def without(self, gone: Collection[Step]) -> Present:
        """Return a copy without the objects of these steps."""
        ids = {(step.what, step.id) for step in gone}
        return Present(
            channels=[one for one in self.channels if ("channel", one.id) not in ids],
            subscriptions=[one for one in self.subscriptions if ("subscription", one.id) not in ids],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One planned or completed step. It contains no secret."""

    action: Action
    what: Literal["channel", "subscription"]
    #: None until the object is created.
    id: str | None = None
    #: In E.164 if it can be derived; None for a channel, and for the default number until it is created.
    number: str | None = field(default=None, repr=False)
    why: str | None = None


def plan(declared: Declared, present: Present, *, prune: bool) -> tuple[Step, ...]:
    """Return the steps in their order; the removals assume that all other steps succeed.

    With `prune` stale objects are removed, and a channel with an authorization other than the first is stale.
    """
    view = _View.of(declared, present, prune=prune)
    steps = [
        Step(action="keep", what="channel", id=view.chosen.id)
        if view.chosen
        else Step(action="make", what="channel")
    ]
    for target in declared.targets:
        kept = view.kept.get(target)
        if kept is None:
            steps.append(Step(action="make", what="subscription", number=target))
        else:
            steps.append(Step(action="keep", what="subscription", id=kept.id, number=number_of(kept)))
    return (*steps, *view.surplus(view.promised(), prune=prune))


def removals(declared: Declared, present: Present, *, prune: bool) -> tuple[Step, ...]:
    """Return the removals that are possible now: only of objects whose replacements exist."""
    view = _View.of(declared, present, prune=prune)
    return tuple(view.surplus(view.covered(), prune=prune))


def right_channel(declared: Declared, channels: Sequence[Channel]) -> Channel | None:
    """Return the channel to use, the same in every process; None if it has to be created."""
    return next(iter(_right(declared, channels)), None)


def is_as_asked(declared: Declared, made: Subscription, *, notify: str | None, number: str | None) -> bool:
    """Whether a new subscription would be recognized later; otherwise each check would create another one."""
    is_named = number is None or number_of(made) == number
    return is_named and (made.correlator, made.notify) == (declared.correlator, notify)


def listed_otherwise(
    declared: Declared, present: Present, steps: Sequence[Step], *, callback: str | None
) -> frozenset[Step]:
    """Return the created objects of `steps`, with the channel `callback`, that the list shows differently.

    If it is a channel, all objects created for it are returned too. Objects that are not listed may appear later.
    """
    made = {(step.what, step.id): step for step in steps if step.action == "make"}
    for channel in present.channels:
        as_made = channel.callback == callback and right_channel(declared, [channel]) is not None
        if ("channel", channel.id) in made and not as_made:
            return frozenset(made.values())
    otherwise = set()
    for subscription in present.subscriptions:
        step = made.get(("subscription", subscription.id))
        number = step.number if step is not None and declared.numbers else None
        if step is not None and not is_as_asked(declared, subscription, notify=callback, number=number):
            otherwise.add(step)
    return frozenset(otherwise)


def number_of(subscription: Subscription) -> str | None:
    """Return the number in E.164 if it can be derived, else the provider's form."""
    written = subscription.destination_address
    try:
        return written and parse_address(written, default_region=None).wire
    except InvalidAddress:
        return written


def _right(declared: Declared, channels: Sequence[Channel]) -> list[Channel]:
    """Return the usable channels, the best first: if two bridges created one each, both keep the same."""
    accepted: tuple[str | None, ...] = declared.authorizations or (None,)
    right = [
        channel
        for channel in channels
        if channel.correlator == declared.correlator
        and (channel.webhook_url or "").rstrip("/") == declared.webhook_url
        and channel.authorization in accepted
    ]
    return sorted(right, key=lambda channel: (accepted.index(channel.authorization), channel.id))


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """The provider's objects, classified by the configuration."""

    declared: Declared
    present: Present
    right: list[Channel]
    #: The subscription for each target.
    kept: dict[str | None, Subscription]

    @classmethod
    def of(cls, declared: Declared, present: Present, *, prune: bool) -> _View:
        declared = declared.strictly() if prune else declared
        right = _right(declared, present.channels)
        kept: dict[str | None, Subscription] = {}
        for subscription in sorted(present.subscriptions, key=lambda one: one.id):
            if subscription.correlator == declared.correlator and subscription.notify in _callbacks(
                right[:1]
            ):
                # Only the provider knows which number is the default: any own subscription counts.
                kept.setdefault(number_of(subscription) if declared.numbers else None, subscription)
        kept = {target: kept[target] for target in declared.targets if target in kept}
        return cls(declared=declared, present=present, right=right, kept=kept)

    @property
    def chosen(self) -> Channel | None:
        return self.right[0] if self.right else None

    def covered(self) -> set[str | None]:
        """Return the numbers whose notifications go to the chosen channel."""
        return {number_of(subscription) for subscription in self.kept.values()}

    def promised(self) -> set[str | None]:
        """Return the numbers that will be covered; without configured numbers, any number may be the default one."""
        if self.kept or self.declared.numbers:
            return self.covered() | set(self.declared.numbers)
        return {number_of(subscription) for subscription in self.present.subscriptions}

    def surplus(self, covered: Collection[str | None], *, prune: bool) -> Iterator[Step]:
        """Yield the own objects that are not needed: duplicates are always removed, stale objects only with `prune`."""
        in_use = set()
        for subscription in sorted(self.present.subscriptions, key=lambda one: one.id):
            why = self._reason_against_subscription(subscription, covered)
            action = _action(why, prune=prune)
            if action != "remove":
                in_use.add(subscription.notify)
            if action is not None:
                number = number_of(subscription)
                yield Step(action=action, what="subscription", id=subscription.id, number=number, why=why)
        for channel in sorted(self.present.channels, key=lambda one: one.id):
            why = self._reason_against_channel(channel)
            action = _action(why, prune=prune)
            if action == "remove" and channel.callback in in_use:
                # Other subscriptions may use it, and an own number may have no other channel yet.
                action, why = "leave", "it is still in use"
            if action is not None:
                yield Step(action=action, what="channel", id=channel.id, why=why)

    def _reason_against_subscription(
        self, subscription: Subscription, covered: Collection[str | None]
    ) -> str | None:
        """Return why an own subscription is not needed; None if it is needed, or is not the bridge's own."""
        if subscription.correlator != self.declared.correlator or subscription in self.kept.values():
            return None
        used = [one for one in self.present.channels if one.callback == subscription.notify]
        if any(channel.correlator != self.declared.correlator for channel in used):
            return None
        number = number_of(subscription)
        named = not self.declared.numbers or number in self.declared.numbers
        if named and number not in covered:
            return None
        if not used:
            return "its channel is gone"
        if subscription.notify not in _callbacks(self.right):
            return "its channel is stale"
        return TWICE if named else "its number is not configured"

    def _reason_against_channel(self, channel: Channel) -> str | None:
        """Return why an own channel is not needed; None if it is needed, or is not the bridge's own."""
        if (
            channel.correlator != self.declared.correlator
            or channel.webhook_url is None
            or channel == self.chosen
        ):
            return None
        if channel in self.right:
            return TWICE
        other_url = channel.webhook_url.rstrip("/") != self.declared.webhook_url
        return "it has another URL" if other_url else "it has another authorization"


#: The reason for a removal without `prune`: a duplicate delivers every notification twice.
TWICE = "it is a duplicate"


def _action(why: str | None, *, prune: bool) -> Action | None:
    if why is None:
        return None
    return "remove" if prune or why == TWICE else "leave"


def _callbacks(channels: Sequence[Channel]) -> set[str | None]:
    return {channel.callback for channel in channels}
