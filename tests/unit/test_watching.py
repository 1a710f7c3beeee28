"""The subscription reconciler: periodic checks, and checks after a cancellation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from bridge.domain.answers import ProviderError
from bridge.domain.subscription_plan import Declared
from bridge.jobs.subscription_reconciler import SubscriptionReconciler
from bridge.jobs.subscriptions import sync
from bridge.ports.provider_errors import Unauthorized, Unreachable
from tests.fakes.provider_account import NUMBER, OTHER, OURS, FakeAccount
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.ops.metrics import Metrics

NEVER = 3600.0
SHORT = 0.1
CANCELLATION = (
    b'{"smsSubscriptionCancellationNotification":{"link":[{"href":"/x/inbound/subscriptions/s1",'
    b'"rel":"Subscription"}],"dateTime":1525895987,"id":"441fc36e"}}'
)
INBOUND = b'{"inboundSMSMessageNotification":{"inboundSMSMessage":{"messageId":"m1"},"id":"n1"}}'


def declared(*numbers: str) -> Declared:
    return Declared(
        correlator=OURS,
        webhook_url="https://bridge.example/hook",
        authorizations=("hunter2",),
        numbers=numbers,
    )


@pytest.fixture
def account() -> FakeAccount:
    return FakeAccount()


@pytest.fixture
def keep(account: FakeAccount, metrics: Metrics) -> Iterator[Callable[..., SubscriptionReconciler]]:
    """Start reconcilers of the account, to be stopped at the end."""
    started: list[SubscriptionReconciler] = []

    def start(*numbers: str, interval: float = SHORT) -> SubscriptionReconciler:
        watch = SubscriptionReconciler(account, declared(*numbers), interval=interval, metrics=metrics)
        watch.start()
        started.append(watch)
        return watch

    yield start
    for watch in started:
        watch.stop()


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    value = metrics.registry.get_sample_value(f"sms_bridge_{name}", labels)
    assert value is not None
    return value


def subscribed(account: FakeAccount) -> list[str]:
    callbacks = {channel.callback for channel in account.channels.list()}
    confirmed = [one for one in account.subscriptions.list() if one.notify in callbacks]
    return sorted(str(one.destination_address) for one in confirmed)


def test_declared_subscription_is_created_at_start_and_again_when_missing(
    account: FakeAccount, metrics: Metrics, keep: Callable[..., SubscriptionReconciler]
) -> None:
    watch = keep(NUMBER, OTHER)
    wait_until(lambda: watch.reason()[1])
    made = subscribed(account)
    for lost in (account.subscriptions, account.channels):
        lost.kept.clear()
        wait_until(lambda: subscribed(account) == [NUMBER, OTHER])
    wait_until(lambda: sample(metrics, "subscriptions_made_total") == 6)

    assert made == [NUMBER, OTHER]
    assert len(account.channels.kept) == 1
    assert watch.reason() == ("subscriptions", True, "2 as declared")
    assert sample(metrics, "subscriptions_declared") == 2
    assert sample(metrics, "subscriptions_missing") == 0


def test_cancellation_starts_a_check_at_once(
    account: FakeAccount, keep: Callable[..., SubscriptionReconciler]
) -> None:
    # The first check finds everything correct: the next one is almost an hour later.
    sync(account, declared(NUMBER))
    watch = keep(NUMBER, interval=NEVER)
    wait_until(lambda: watch.reason()[1])
    account.subscriptions.kept.clear()
    with capture_logs() as lines:
        watch.cancelled("e1")
        wait_until(lambda: subscribed(account) == [NUMBER])

    assert [line["event"] for line in lines if line["event"].endswith("cancelled")] == [
        "subscription.cancelled"
    ]


def test_refused_subscription_is_reported_missing_and_created_once_possible(
    account: FakeAccount, metrics: Metrics, keep: Callable[..., SubscriptionReconciler]
) -> None:
    account.numbers.discard(OTHER)
    with capture_logs() as lines:
        watch = keep(NUMBER, OTHER)
        wait_until(lambda: sample(metrics, "subscriptions_missing") == 1)
        reason = watch.reason()
        account.numbers.add(OTHER)
        wait_until(lambda: watch.reason()[1])
    events: list[Any] = [(line["event"], line.get("number"), line["log_level"]) for line in lines]

    assert reason == ("subscriptions", False, "missing: ***8878 (the provider refuses the call (403))")
    assert sample(metrics, "subscriptions_missing") == 0
    assert ("subscription.missing", "***8878", "warning") in events
    assert [event[1] for event in events if event[0] == "subscription.made"] == ["***8877", "***8878"]
    assert not [line for line in lines if "hunter2" in str(line) or NUMBER in str(line)]


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("no answer", ProviderError(name="http")),
        Unauthorized("the provider refuses the account", ProviderError(name="http", http_status=401)),
        ZeroDivisionError(),
    ],
)
def test_failed_check_is_repeated_and_logged(
    account: FakeAccount, metrics: Metrics, keep: Callable[..., SubscriptionReconciler], error: Exception
) -> None:
    account.broken = error
    with capture_logs() as lines:
        watch = keep()
        wait_until(lambda: sample(metrics, "subscription_checks_total", result="failed") >= 2)
        reason, missing = watch.reason(), sample(metrics, "subscriptions_missing")
        account.broken = None
        wait_until(lambda: watch.reason()[1])

    assert reason[1] is False
    assert reason[2].startswith("the last check failed")
    assert missing == 1
    assert {line["event"] for line in lines[:2]} == {"subscription.check_failed"}


def test_unavailable_provider_is_polled_with_growing_pauses(account: FakeAccount, metrics: Metrics) -> None:
    watch = SubscriptionReconciler(account, declared(), interval=300.0, metrics=metrics)
    account.broken = Unreachable("no answer", ProviderError(name="http"))
    with capture_logs():
        waits = [watch._check() for _ in range(2000)]
    account.broken = None
    after = [watch._check(), watch._check()]

    assert [0.5 * 2**n <= wait <= 2**n for n, wait in enumerate(waits[:8])] == [True] * 8
    assert all(150 <= wait <= 300 for wait in waits[9:])
    # Soon after a creation, then a little less than the interval.
    assert after[0] == 5
    assert 210 <= after[1] <= 270


def test_subscription_created_at_every_check_is_created_with_growing_pauses(
    account: FakeAccount, metrics: Metrics
) -> None:
    watch = SubscriptionReconciler(account, declared(NUMBER), interval=300.0, metrics=metrics)
    account.channels.late = account.subscriptions.late = True
    with capture_logs() as lines:
        waits = [watch._check() for _ in range(20)]
        account.channels.late = account.subscriptions.late = False
        settled = [watch._check(), watch._check()]

    # Soon at first: another ingest may have created it, or the list may be late.
    assert waits[0] == 5
    assert all(5 <= wait <= max(5, 2**n) for n, wait in enumerate(waits[1:]))
    assert all(150 <= wait <= 300 for wait in waits[10:])
    assert sum("subscription.remade" in line.values() for line in lines) == 19
    assert [210 <= wait <= 270 for wait in settled] == [True, True]
    assert [len(account.channels.kept), len(account.subscriptions.kept)] == [1, 1]


def test_unrecognizable_subscription_is_missing_and_not_duplicated(
    account: FakeAccount, metrics: Metrics
) -> None:
    watch = SubscriptionReconciler(account, declared(NUMBER), interval=300.0, metrics=metrics)
    account.channels.hidden.add("authorization")
    with capture_logs() as lines:
        waits = [watch._check() for _ in range(10)]

    assert [len(account.channels.kept), len(account.subscriptions.kept)] == [0, 0]
    assert waits[-1] >= 150
    assert watch.reason()[1] is False
    assert "the provider lists it differently" in watch.reason()[2]
    assert sample(metrics, "subscriptions_missing") == 1
    assert not [line for line in lines if "hunter2" in str(line)]


def test_several_reconcilers_end_with_one_channel_and_one_subscription(
    account: FakeAccount, keep: Callable[..., SubscriptionReconciler]
) -> None:
    watches = [keep(NUMBER, OTHER) for _ in range(4)]
    wait_until(lambda: all(watch.reason()[1] for watch in watches))
    wait_until(lambda: [len(account.channels.kept), len(account.subscriptions.kept)] == [1, 2])

    assert subscribed(account) == [NUMBER, OTHER]


def test_reconciler_stops_on_request(
    account: FakeAccount, keep: Callable[..., SubscriptionReconciler]
) -> None:
    watch = keep(interval=NEVER)
    wait_until(lambda: watch.reason()[1])
    watch.stop()

    assert account.closed
