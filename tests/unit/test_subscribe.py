"""The plan of subscriptions: kept, created and deleted ones, from declared and existing ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bridge.adapters.cpaas.values import ProviderChannel, ProviderSubscription
from bridge.domain.subscription_plan import Declared, Present, plan, removals
from tests.fakes.provider_account import NUMBER, OTHER, OURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.domain.subscription_plan import Step

URL = "https://bridge.example/hook"
NEW, OLD = "hunter2-new", "hunter2-old"
FOREIGN = "PRIV-1-python"


def channel(
    id_: str, url: str | None = URL, authorization: str | None = NEW, of: str | None = OURS
) -> ProviderChannel:
    return ProviderChannel(
        id=id_,
        callback=f"wh-{id_}",
        type="webhooks",
        webhook_url=url,
        authorization=authorization,
        correlator=of,
    )


def subscription(
    id_: str, of_channel: str, number: str | None = NUMBER, of: str | None = OURS
) -> ProviderSubscription:
    return ProviderSubscription(id=id_, notify=f"wh-{of_channel}", destination_address=number, correlator=of)


def declared(*numbers: str, authorizations: tuple[str, ...] = (NEW, OLD)) -> Declared:
    return Declared(correlator=OURS, webhook_url=URL, authorizations=authorizations, numbers=numbers)


def shown(steps: Sequence[Step]) -> list[str]:
    """Return `keep c1`, `make +1613…`, `leave s2: why`."""
    lines = [f"{step.action} {step.id or step.number or step.what}" for step in steps]
    return [f"{line}: {step.why}" if step.why else line for line, step in zip(lines, steps, strict=True)]


def planned(
    wish: Declared, *things: ProviderChannel | ProviderSubscription, prune: bool = False, now: bool = False
) -> list[str]:
    present = Present(
        channels=[thing for thing in things if isinstance(thing, ProviderChannel)],
        subscriptions=[thing for thing in things if isinstance(thing, ProviderSubscription)],
    )
    return shown((removals if now else plan)(wish, present, prune=prune))


BOTH: list[Any] = [channel("c1"), subscription("s1", "c1"), subscription("s2", "c1", OTHER)]


@pytest.mark.parametrize(
    ("numbers", "things", "steps"),
    [
        # None exists, all exist, some exist.
        ([], [], ["make channel", "make subscription"]),
        ([NUMBER, OTHER], [], ["make channel", f"make {NUMBER}", f"make {OTHER}"]),
        ([], BOTH[:2], ["keep c1", "keep s1"]),
        ([OTHER, NUMBER], BOTH, ["keep c1", "keep s2", "keep s1"]),
        ([NUMBER, OTHER], BOTH[:2], ["keep c1", "keep s1", f"make {OTHER}"]),
        # Other spellings of the provider.
        ([NUMBER], [BOTH[0], subscription("s1", "c1", f"tel:{NUMBER}")], ["keep c1", "keep s1"]),
        (
            [NUMBER],
            [BOTH[0], subscription("s1", "c1", "?")],
            ["keep c1", f"make {NUMBER}", "leave s1: unasked"],
        ),
        ([], [channel("c1", URL + "/"), BOTH[1]], ["keep c1", "keep s1"]),
        # Any configured authorization is accepted; the first is preferred.
        ([], [channel("c1", authorization=OLD), BOTH[1]], ["keep c1", "keep s1"]),
        (
            [],
            [channel("c0", authorization=OLD), BOTH[0]],
            ["keep c1", "make subscription", "remove c0: twice"],
        ),
        # The channel is missing or differs.
        ([NUMBER], BOTH[1:2], ["make channel", f"make {NUMBER}", "leave s1: gone"]),
        (
            [NUMBER],
            [channel("c1", authorization="stolen"), BOTH[1]],
            ["make channel", f"make {NUMBER}", "leave s1: stale", "leave c1: authorization"],
        ),
        (
            [NUMBER],
            [channel("c1", authorization=None), BOTH[1]],
            ["make channel", f"make {NUMBER}", "leave s1: stale", "leave c1: authorization"],
        ),
        (
            [NUMBER],
            [channel("c1", "https://old.example/hook"), BOTH[1]],
            ["make channel", f"make {NUMBER}", "leave s1: stale", "leave c1: URL"],
        ),
        # A foreign one is neither used nor changed.
        (
            [],
            [channel("c1", of=FOREIGN), subscription("s1", "c1", of=FOREIGN)],
            ["make channel", "make subscription"],
        ),
        (
            [],
            [channel("c1", of=None), subscription("s1", "c1", of=None)],
            ["make channel", "make subscription"],
        ),
        ([], [BOTH[0], subscription("s1", "c1", of=FOREIGN)], ["keep c1", "make subscription"]),
        ([], [*BOTH[:2], channel("c9", None)], ["keep c1", "keep s1"]),
        (
            [],
            [*BOTH[:2], channel("c9", of=FOREIGN), subscription("s9", "c9")],
            ["keep c1", "keep s1"],
        ),
        # Twice.
        ([NUMBER], [*BOTH[:2], subscription("s0", "c1")], ["keep c1", "keep s0", "remove s1: twice"]),
        ([], [*BOTH[:2], subscription("s0", "c1")], ["keep c1", "keep s0", "remove s1: twice"]),
        (
            [NUMBER],
            [*BOTH[:2], channel("c2"), subscription("s2", "c2")],
            ["keep c1", "keep s1", "remove s2: twice", "remove c2: twice"],
        ),
        (
            [NUMBER, OTHER],
            [*BOTH[:2], channel("c2"), subscription("s2", "c2", OTHER)],
            ["keep c1", "keep s1", f"make {OTHER}", "remove s2: twice", "remove c2: twice"],
        ),
        # No longer declared; without a named number, any may be the default one.
        ([NUMBER], BOTH, ["keep c1", "keep s1", "leave s2: unasked"]),
        ([], BOTH, ["keep c1", "keep s1"]),
    ],
)
def test_plan_creates_missing_and_removes_duplicate_subscriptions(
    numbers: list[str], things: list[Any], steps: list[str]
) -> None:
    assert planned(declared(*numbers), *things) == [_in_full(step) for step in steps]


REASONS = {
    "twice": "it is a duplicate",
    "gone": "its channel is gone",
    "stale": "its channel is stale",
    "unasked": "its number is not configured",
    "authorization": "it has another authorization",
    "URL": "it has another URL",
    "used": "it is still in use",
}


def _in_full(step: str) -> str:
    what, _, why = step.partition(": ")
    return f"{what}: {REASONS[why]}" if why else what


STALE = channel("c9", "https://old.example/hook")


@pytest.mark.parametrize(
    ("things", "steps"),
    [
        ([*BOTH, STALE], ["keep c1", "keep s1", "remove s2: unasked", "remove c9: URL"]),
        (
            [STALE, subscription("s9", "c9")],
            ["make channel", f"make {NUMBER}", "remove s9: stale", "remove c9: URL"],
        ),
        ([*BOTH[:2], subscription("s9", "c9")], ["keep c1", "keep s1", "remove s9: gone"]),
        # A foreign subscription uses the bridge's channel.
        ([*BOTH[:2], STALE, subscription("s9", "c9", of=FOREIGN)], ["keep c1", "keep s1", "leave c9: used"]),
        # The last step of a rotation: only the first authorization is valid.
        (
            [channel("c0", authorization=OLD), subscription("s0", "c0")],
            ["make channel", f"make {NUMBER}", "remove s0: stale", "remove c0: authorization"],
        ),
    ],
)
def test_pruning_removes_stale_channels_of_the_bridge(things: list[Any], steps: list[str]) -> None:
    assert planned(declared(NUMBER), *things, prune=True) == [_in_full(step) for step in steps]


@pytest.mark.parametrize(
    ("numbers", "things", "steps"),
    [
        # The channel exists, its subscription does not yet.
        ([NUMBER], [BOTH[0], STALE, subscription("s9", "c9")], ["leave c9: used"]),
        ([], [BOTH[0], STALE, subscription("s9", "c9")], ["leave c9: used"]),
        ([NUMBER], [BOTH[0], channel("c2"), subscription("s2", "c2")], ["leave c2: used"]),
        # One of two exists.
        (
            [NUMBER, OTHER],
            [*BOTH[:2], STALE, subscription("s8", "c9"), subscription("s9", "c9", OTHER)],
            ["remove s8: stale", "leave c9: used"],
        ),
        ([NUMBER], [*BOTH[:2], STALE, subscription("s9", "c9")], ["remove s9: stale", "remove c9: URL"]),
        ([], [*BOTH[:2], STALE, subscription("s9", "c9")], ["remove s9: stale", "remove c9: URL"]),
    ],
)
def test_replacement_is_created_before_the_old_one_is_deleted(
    numbers: list[str], things: list[Any], steps: list[str]
) -> None:
    assert planned(declared(*numbers), *things, prune=True, now=True) == [_in_full(step) for step in steps]


def test_without_any_authorization_configured_a_channel_has_none() -> None:
    wish = declared(authorizations=())

    assert planned(wish, channel("c1", authorization=None), BOTH[1]) == ["keep c1", "keep s1"]
    assert planned(wish, *BOTH[:2])[0] == "make channel"


def test_plan_shows_no_secret_and_no_number() -> None:
    present = Present(channels=[channel("c1", authorization="hunter2-third")], subscriptions=BOTH[1:])
    lookups = repr(plan(declared(NUMBER), present, prune=True)) + repr(declared(NUMBER)) + repr(present)

    assert "hunter2" not in lookups
    assert NUMBER not in lookups
    assert "bridge.example" not in lookups
