"""Channels and subscriptions as configuration wants them: what stays, what is made, what of ours can go.

Ours is what has our correlator; nothing else is used or touched. A channel of ours is *right* while it posts to the
configured URL with a configured authorization, else it is *stale*. Nothing goes before what takes its place is there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from bridge.domain.addresses import parse_address
from bridge.domain.errors import InvalidAddress

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from bridge.domain.notification_channels import Channel, Subscription

#: ``leave`` is said of what `prune` would remove, ``fail`` of what could not be done.
Action: TypeAlias = Literal["keep", "make", "remove", "leave", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What configuration says of notifications."""

    #: The ``clientCorrelator`` of everything that is ours.
    correlator: str
    webhook_url: str = field(repr=False)
    #: Any of them will do; the first is given to a new channel. None: notifications come without.
    authorizations: tuple[str, ...] = field(default=(), repr=False)
    #: In E.164, each once. None named: the account's default number.
    numbers: tuple[str, ...] = field(default=(), repr=False)

    @property
    def targets(self) -> tuple[str | None, ...]:
        """The numbers to subscribe to; None stands for the default one."""
        return self.numbers or (None,)

    @property
    def authorization(self) -> str | None:
        """What a new channel is given."""
        return self.authorizations[0] if self.authorizations else None

    def strictly(self) -> Declared:
        """Return the same with the first authorization alone."""
        return replace(self, authorizations=self.authorizations[:1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What the provider has, of whomever it is."""

    channels: Sequence[Channel]
    subscriptions: Sequence[Subscription]

    def without(self, gone: Collection[Step]) -> Present:
        """Return the same less the things of those steps."""
        ids = {(step.what, step.id) for step in gone}
        return Present(
            channels=[one for one in self.channels if ("channel", one.id) not in ids],
            subscriptions=[one for one in self.subscriptions if ("subscription", one.id) not in ids],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do or done. It holds no secret."""

    action: Action
    what: Literal["channel", "subscription"]
    #: None while it is not made.
    id: str | None = None
    #: In E.164 where it can be told; None for a channel, and for the default number while it is not made.
    number: str | None = field(default=None, repr=False)
    why: str | None = None


def plan(declared: Declared, present: Present, *, prune: bool) -> tuple[Step, ...]:
    """Return what has to be done, in its order; what is to be removed supposes that all the rest went well.

    With `prune` what is stale goes, and a channel with another authorization than the first is stale.
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
    """Return what can go now: only what has another in its place already."""
    view = _View.of(declared, present, prune=prune)
    return tuple(view.surplus(view.covered(), prune=prune))


def right_channel(declared: Declared, channels: Sequence[Channel]) -> Channel | None:
    """Return the channel to use, the same one whoever asks; None where it is to be made."""
    return next(iter(_right(declared, channels)), None)


def is_as_asked(declared: Declared, made: Subscription, *, notify: str | None, number: str | None) -> bool:
    """Whether a subscription that was just made would be known again; otherwise each look would make another."""
    is_named = number is None or number_of(made) == number
    return is_named and (made.correlator, made.notify) == (declared.correlator, notify)


def listed_otherwise(
    declared: Declared, present: Present, steps: Sequence[Step], *, callback: str | None
) -> frozenset[Step]:
    """Return what of `steps` was made, with the channel `callback`, and would not be known again from the list.

    With a channel goes all that was made to use it. What is not listed at all may yet be.
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
    """Return the number in E.164 where it can be told, else as the provider has it."""
    written = subscription.destination_address
    try:
        return written and parse_address(written, default_region=None).wire
    except InvalidAddress:
        return written


def _right(declared: Declared, channels: Sequence[Channel]) -> list[Channel]:
    """Return what may be used, the best first: of two bridges that made one each, both keep the same."""
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
    """What the provider has, sorted by what it is to us."""

    declared: Declared
    present: Present
    right: list[Channel]
    #: The subscription that stands for each target.
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
                # Which number is the default one only the provider knows: any of ours will do.
                kept.setdefault(number_of(subscription) if declared.numbers else None, subscription)
        kept = {target: kept[target] for target in declared.targets if target in kept}
        return cls(declared=declared, present=present, right=right, kept=kept)

    @property
    def chosen(self) -> Channel | None:
        return self.right[0] if self.right else None

    def covered(self) -> set[str | None]:
        """Return the numbers that somebody is told of by the chosen channel."""
        return {number_of(subscription) for subscription in self.kept.values()}

    def promised(self) -> set[str | None]:
        """Return the numbers that will be covered; whatever number we have may be the default one."""
        if self.kept or self.declared.numbers:
            return self.covered() | set(self.declared.numbers)
        return {number_of(subscription) for subscription in self.present.subscriptions}

    def surplus(self, covered: Collection[str | None], *, prune: bool) -> Iterator[Step]:
        """Yield what of ours is not needed: what is there twice goes in any case, what is stale only with `prune`."""
        in_use = set()
        for subscription in sorted(self.present.subscriptions, key=lambda one: one.id):
            why = self._why_not(subscription, covered)
            action = _action(why, prune=prune)
            if action != "remove":
                in_use.add(subscription.notify)
            if action is not None:
                number = number_of(subscription)
                yield Step(action=action, what="subscription", id=subscription.id, number=number, why=why)
        for channel in sorted(self.present.channels, key=lambda one: one.id):
            why = self._why_no(channel)
            action = _action(why, prune=prune)
            if action == "remove" and channel.callback in in_use:
                # Others may use it too, and a number of ours may have no other yet.
                action, why = "leave", "it is still in use"
            if action is not None:
                yield Step(action=action, what="channel", id=channel.id, why=why)

    def _why_not(self, subscription: Subscription, covered: Collection[str | None]) -> str | None:
        """Return why a subscription of ours is not needed; None where it is, or is not ours to judge."""
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

    def _why_no(self, channel: Channel) -> str | None:
        """Return why a channel of ours is not needed; None where it is, or is not ours."""
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


#: Why something goes without `prune`: whoever is told twice hears everything twice.
TWICE = "it is there twice"


def _action(why: str | None, *, prune: bool) -> Action | None:
    if why is None:
        return None
    return "remove" if prune or why == TWICE else "leave"


def _callbacks(channels: Sequence[Channel]) -> set[str | None]:
    return {channel.callback for channel in channels}
