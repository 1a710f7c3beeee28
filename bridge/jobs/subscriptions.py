"""Synchronization of the provider's channels and subscriptions with the configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.domain.errors import BridgeError
from bridge.domain.subscription_plan import (
    Present,
    Step,
    is_as_asked,
    listed_otherwise,
    number_of,
    plan,
    removals,
    right_channel,
)
from bridge.ports import unwatched
from bridge.ports.provider_errors import CallRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.domain.notification_channels import Channel
    from bridge.domain.subscription_plan import Declared
    from bridge.ports import Notifying, Progress


class NotAsAsked(BridgeError):
    """The provider created something other than requested, which could not be recognized later; it was deleted."""


def read_state(account: Notifying) -> Present:
    """Return the provider's channels and subscriptions.

    Raises:
        CpaasError: see `bridge.ports.provider_errors`.

    """
    return Present(channels=account.channels.list(), subscriptions=account.subscriptions.list())


def sync(
    account: Notifying, declared: Declared, *, prune: bool = False, progress: Progress = unwatched
) -> tuple[Step, ...]:
    """Create what is missing, remove what is obsolete, and return all steps, also the kept; `progress` counts steps.

    A step that the provider refuses fails, and the others continue. Several processes may sync at once: the state is
    read again after the creation, and all of them keep the same duplicate. If the provider lists a created channel or
    subscription differently than requested, it is deleted and its step fails: it could not be recognized later, and
    each sync would create another one.

    Raises:
        CpaasError: the provider can't be used; completed steps stay.

    """
    steps = plan(declared, present := read_state(account), prune=prune)
    if all(step.action != "make" for step in steps):
        return tuple(_remove(account, step) for step in steps)
    wanted = declared.strictly() if prune else declared
    callback, made = _make(account, wanted, present, steps, progress)
    listed = read_state(account)
    otherwise = listed_otherwise(wanted, listed, made, callback=callback)
    # From the end: subscriptions go before the channel that they use.
    failed = {step: _take_back(account, step) for step in reversed(made) if step in otherwise}
    rest = removals(declared, listed.without(otherwise), prune=prune)
    return (*(failed.get(step, step) for step in made), *(_remove(account, step) for step in rest))


def channel_of(account: Notifying, declared: Declared, present: Sequence[Channel]) -> Channel:
    """Return the channel to use of those that are `present`, or a new one if none matches.

    Raises:
        NotAsAsked: the provider lists the channel differently than requested.
        CpaasError: see `bridge.ports.provider_errors`.

    """
    found = right_channel(declared, present)
    if found is not None:
        return found
    made = account.channels.create(webhook_url=declared.webhook_url, authorization=declared.authorization)
    if right_channel(declared, [made]) is None:
        account.channels.delete(made.id)
        raise NotAsAsked("the provider shows the channel differently than requested")
    return made


def _make(
    account: Notifying, declared: Declared, present: Present, steps: tuple[Step, ...], progress: Progress
) -> tuple[str | None, list[Step]]:
    """Create what is missing; return the callback of the used channel, and the kept, created and failed steps."""
    callback, done = None, []
    for position, step in enumerate(steps):
        progress(position, len(steps))
        if step.what == "channel" and step.action in {"keep", "make"}:
            try:
                channel = channel_of(account, declared, present.channels)
            except (CallRefused, NotAsAsked) as error:
                done.append(replace(step, action="fail", why=str(error)))
            else:
                callback = channel.callback
                done.append(replace(step, id=channel.id))
        elif step.action == "make":
            done.append(_subscribe(account, declared, callback, step))
        elif step.action == "keep":
            done.append(step)
    return callback, done


def _subscribe(account: Notifying, declared: Declared, callback: str | None, step: Step) -> Step:
    if callback is None:
        return replace(step, action="fail", why="there is no channel")
    try:
        made = account.subscriptions.create(notify=callback, number=step.number)
        if not is_as_asked(declared, made, notify=callback, number=step.number):
            account.subscriptions.delete(made.id)
            return replace(step, action="fail", why="the provider created a different one than requested")
    except CallRefused as error:
        return replace(step, action="fail", why=str(error))
    return replace(step, id=made.id, number=number_of(made))


def _take_back(account: Notifying, step: Step) -> Step:
    """Remove what the step created, and return the step as failed, without an id, even if the removal failed."""
    removed = _remove(account, replace(step, action="remove"))
    why = removed.why if removed.action == "fail" else "the provider lists it differently than requested"
    return replace(step, action="fail", id=None, why=why)


def _remove(account: Notifying, step: Step) -> Step:
    """Carry out the step if it is a removal."""
    if step.action != "remove" or step.id is None:
        return step
    things = account.channels if step.what == "channel" else account.subscriptions
    try:
        things.delete(step.id)
    except CallRefused as error:
        return replace(step, action="fail", why=str(error))
    return step
