"""Sync of subscriptions, with an account in memory and with the simulator."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import cpaassdk
import pytest

from bridge.adapters.clock import SystemClock
from bridge.adapters.cpaas.client import CpaasClient
from bridge.domain.subscription_plan import Declared
from bridge.jobs.subscriptions import NotAsAsked, channel_of, read_state, sync
from bridge.ports.provider_errors import CallRefused, CpaasError, NotFound
from bridge.simulator import Simulator
from tests.fakes.provider_account import NUMBER, OTHER, OURS, FakeAccount
from tests.unit.cpaas_setup import ONCE, account

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.domain.subscription_plan import Present, Step
    from bridge.ports import Notifying

URL = "http://127.0.0.1:9/hook"


@pytest.fixture
def url() -> Iterator[str]:
    with Simulator() as simulator:
        yield simulator.url


@pytest.fixture
def client(url: str) -> Iterator[CpaasClient]:
    client = CpaasClient(account(url, correlator=OURS), SystemClock(), ONCE, threading.Event())
    yield client
    client.close()


@pytest.fixture(params=["fake", "simulator"])
def provider(request: pytest.FixtureRequest) -> Any:
    return FakeAccount() if request.param == "fake" else request.getfixturevalue("client")


def declared(*numbers: str, authorizations: tuple[str, ...] = ("new", "old"), url: str = URL) -> Declared:
    return Declared(correlator=OURS, webhook_url=url, authorizations=authorizations, numbers=numbers)


def did(steps: tuple[Step, ...]) -> list[tuple[str, str]]:
    return [(step.action, step.what) for step in steps]


def numbers_of(present: Present) -> list[str]:
    return sorted(str(one.destination_address) for one in present.subscriptions)


KEPT = [("keep", "channel"), ("keep", "subscription"), ("keep", "subscription")]


def test_declared_subscription_is_created_once_by_any_number_of_syncs(provider: Notifying) -> None:
    first = sync(provider, declared(NUMBER, OTHER))
    made = read_state(provider)
    again = [sync(provider, declared(NUMBER, OTHER)) for _ in range(100)]
    after = read_state(provider)

    assert did(first) == [("make", what) for _, what in KEPT]
    assert {tuple(did(steps)) for steps in again} == {tuple(KEPT)}
    assert after == made
    assert [channel.authorization for channel in after.channels] == ["new"]
    assert {one.notify for one in after.subscriptions} == {after.channels[0].callback}
    assert numbers_of(after) == [NUMBER, OTHER]


def test_no_number_named_means_the_default_one(provider: Notifying) -> None:
    made = sync(provider, declared())
    again = sync(provider, declared())

    assert made[-1].number == again[-1].number == NUMBER
    assert did(again) == KEPT[:2]


@pytest.mark.parametrize("vanished", ["channels", "subscriptions"])
def test_missing_subscription_is_created_again(provider: Notifying, vanished: str) -> None:
    sync(provider, declared(NUMBER, OTHER))
    things = getattr(provider, vanished)
    things.delete(things.list()[0].id)
    sync(provider, declared(NUMBER, OTHER), prune=True)
    present = read_state(provider)

    assert len(present.channels) == 1
    assert numbers_of(present) == [NUMBER, OTHER]
    assert {one.notify for one in present.subscriptions} == {present.channels[0].callback}


def test_refused_number_does_not_affect_other_numbers(provider: Notifying) -> None:
    steps = sync(provider, declared("+16135550000", OTHER))

    assert did(steps) == [("make", "channel"), ("fail", "subscription"), ("make", "subscription")]
    assert numbers_of(read_state(provider)) == [OTHER]


def test_rotation_leaves_only_the_new_authorization(provider: Notifying) -> None:
    sync(provider, declared(authorizations=("old",)))
    kept = did(sync(provider, declared(authorizations=("new", "old"))))
    pruned = sync(provider, declared(authorizations=("new", "old")), prune=True)
    present = read_state(provider)

    assert kept == KEPT[:2]
    assert [step.action for step in pruned] == ["make", "make", "remove", "remove"]
    assert [channel.authorization for channel in present.channels] == ["new"]
    assert did(sync(provider, declared(authorizations=("new",)))) == KEPT[:2]


def test_another_url_leaves_the_old_channel_until_it_is_pruned(provider: Notifying) -> None:
    sync(provider, declared(url="http://127.0.0.1:9/old"))
    moved = sync(provider, declared())
    both = read_state(provider)
    pruned = sync(provider, declared(), prune=True)
    left = read_state(provider)

    assert [step.action for step in moved] == ["make", "make", "leave", "leave"]
    assert [len(both.channels), len(both.subscriptions)] == [2, 2]
    assert [step.action for step in pruned] == ["keep", "keep", "remove", "remove"]
    assert [channel.webhook_url for channel in left.channels] == [URL]
    assert len(left.subscriptions) == 1


def test_stale_subscription_is_kept_by_pruning_while_it_is_the_only_one() -> None:
    provider = FakeAccount()
    sync(provider, declared(NUMBER, OTHER, url="http://127.0.0.1:9/old"))
    provider.numbers.discard(OTHER)
    steps = sync(provider, declared(NUMBER, OTHER), prune=True)
    present = read_state(provider)

    assert [step.action for step in steps] == ["make", "make", "fail", "remove", "leave"]
    assert numbers_of(present) == [NUMBER, OTHER]
    assert len(present.channels) == 2


def test_concurrent_syncs_end_with_one_channel_and_one_subscription() -> None:
    provider = FakeAccount()

    class Late:
        """Shows one of two syncs an account in which the other has created nothing yet."""

        def __init__(self) -> None:
            self.subscriptions = provider.subscriptions
            self.channels = self
            self.create, self.delete = provider.channels.create, provider.channels.delete
            self.raced = False

        def list(self) -> tuple[Any, ...]:
            if not self.raced:
                self.raced = True
                seen = provider.channels.list()
                sync(provider, declared())
                return seen
            return provider.channels.list()

    late: Any = Late()
    sync(late, declared())
    sync(provider, declared())
    present = read_state(provider)

    assert [len(present.channels), len(present.subscriptions)] == [1, 1]


def test_no_second_channel_is_created_when_the_provider_does_not_show_the_first() -> None:
    provider = FakeAccount()
    provider.echoes = False
    with pytest.raises(NotAsAsked):
        channel_of(provider, declared(), provider.channels.list())
    steps = sync(provider, declared())

    assert did(steps) == [("fail", "channel"), ("fail", "subscription")]
    assert read_state(provider).channels == ()


def test_unrecognizable_subscription_is_deleted() -> None:
    provider = FakeAccount()
    sync(provider, declared(NUMBER))
    provider.echoes = False
    steps = sync(provider, declared(NUMBER, OTHER))

    assert did(steps) == [("keep", "channel"), ("keep", "subscription"), ("fail", "subscription")]
    assert numbers_of(read_state(provider)) == [NUMBER]


@pytest.mark.parametrize(
    ("things", "hidden", "channels"),
    [
        ("channels", "authorization", 0),
        ("channels", "correlator", 0),
        ("channels", "webhook_url", 0),
        ("subscriptions", "correlator", 1),
        ("subscriptions", "notify", 1),
        ("subscriptions", "destination_address", 1),
    ],
)
@pytest.mark.parametrize("prune", [False, True])
def test_unrecognizable_subscription_is_deleted_by_every_sync(
    things: str, hidden: str, channels: int, *, prune: bool
) -> None:
    provider = FakeAccount()
    getattr(provider, things).hidden.add(hidden)
    steps = [sync(provider, declared(NUMBER, OTHER), prune=prune) for _ in range(5)][-1]
    failed = [step for step in steps if step.action == "fail"]

    assert [len(provider.channels.kept), len(provider.subscriptions.kept)] == [channels, 0]
    assert [step.what for step in failed] == ["channel", "subscription", "subscription"][channels:]
    assert {step.why for step in failed} == {"the provider lists it differently than requested"}
    assert {step.id for step in failed} == {None}


def test_existing_subscription_stays_when_the_new_one_is_unrecognizable() -> None:
    provider = FakeAccount()
    sync(provider, declared(NUMBER))
    before = [dict(provider.channels.kept), dict(provider.subscriptions.kept)]
    provider.channels.hidden.add("authorization")
    steps = sync(provider, declared(NUMBER), prune=True)

    assert did(steps)[:2] == [("fail", "channel"), ("fail", "subscription")]
    assert [provider.channels.kept, provider.subscriptions.kept] == before


def test_subscription_that_is_not_listed_yet_is_left_unchanged() -> None:
    provider = FakeAccount()
    provider.channels.late = provider.subscriptions.late = True
    steps = sync(provider, declared(NUMBER))
    provider.channels.late = provider.subscriptions.late = False

    assert did(steps) == [("make", "channel"), ("make", "subscription")]
    assert did(sync(provider, declared(NUMBER))) == KEPT[:2]


def test_subscriptions_of_the_providers_sdk_are_left_unchanged(url: str, client: CpaasClient) -> None:
    sdk = cpaassdk.Client({"client_id": "PRIV-1", "client_secret": "s", "base_url": url})
    for _ in range(2):
        sdk.conversation.subscribe({"type": "sms", "webhook_url": URL, "destination_address": NUMBER})
    before = read_state(client)
    sync(client, declared(NUMBER, authorizations=()))
    sync(client, declared(OTHER, authorizations=("new",)), prune=True)
    after = read_state(client)
    ours = [one for one in after.channels if one.correlator == OURS]

    assert [one.correlator for one in before.channels] == ["PRIV-1-python"] * 2
    assert [one for one in after.channels if one not in ours] == list(before.channels)
    assert [one for one in after.subscriptions if one.correlator != OURS] == list(before.subscriptions)
    assert [one.authorization for one in ours] == ["new"]
    assert [
        (one.destination_address, one.notify) for one in after.subscriptions if one.correlator == OURS
    ] == [(OTHER, ours[0].callback)]


def test_missing_subscription_can_be_deleted_and_foreign_number_is_refused(provider: Notifying) -> None:
    channel = channel_of(provider, declared(), ())
    provider.subscriptions.delete("nothing")
    provider.channels.delete("nothing")
    with pytest.raises(CallRefused) as refusal:
        provider.subscriptions.create(notify=channel.callback, number="+16135550000")

    assert not isinstance(refusal.value, NotFound)
    assert isinstance(refusal.value, CpaasError)
