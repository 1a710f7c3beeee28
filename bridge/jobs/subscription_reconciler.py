"""Subscription reconciler: makes the provider's subscriptions match the declared ones, on a background thread."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from bridge.concurrency.background_worker import BackgroundWorker
from bridge.domain.masks import mask_number
from bridge.jobs.subscriptions import sync
from bridge.ports.provider_errors import CpaasError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.domain.subscription_plan import Declared, Step
    from bridge.ops.metrics import Metrics
    from bridge.ports import Notifying

#: Seconds until created subscriptions are checked again: another ingest may have created the same ones.
SOON = 5.0
#: Minimum seconds between two checks, regardless of the number of cancellations.
PAUSE = 1.0


class SubscriptionReconciler(BackgroundWorker):
    """Checks at start, periodically, and when a subscription was cancelled.

    The first check has a random delay of up to a second, to spread ingests.
    """

    def __init__(self, account: Notifying, declared: Declared, *, interval: float, metrics: Metrics) -> None:
        """Create missing subscriptions within `interval` seconds, while the provider can be reached."""
        super().__init__("subscriptions", after=min(PAUSE, interval) * _chance())
        self._account = account
        self._declared = declared
        self._interval = interval
        self._metrics = metrics
        self._failures = 0
        #: The channels and subscriptions that the last check created.
        self._made: frozenset[tuple[str, str | None]] = frozenset()
        self._state = (False, "not checked yet")
        metrics.subscriptions_declared.set(len(declared.targets))
        # Before the first check, all count as missing.
        metrics.subscriptions_missing.set(len(declared.targets))

    def reason(self) -> tuple[str, bool, str]:
        """Return whether all is as declared, with the missing subscriptions; for the readiness report."""
        return ("subscriptions", *self._state)

    def cancelled(self, event_id: str) -> None:
        """Check at once, because a notification reports a cancelled subscription. From any thread."""
        self._log.warning("subscription.cancelled", event_id=event_id)
        self.wake()

    def run_once(self) -> float:
        """Check, and pause: cancellations that arrive right after a check wait for the pause."""
        wait = self._check()
        self.pause(min(PAUSE, wait))
        return max(0.0, wait - PAUSE)

    def close(self) -> None:
        """Close the provider's client."""
        self._account.close()

    def _check(self) -> float:
        """Create and remove as declared; return the seconds until the next check."""
        try:
            steps = sync(self._account, self._declared)
        except CpaasError as error:
            self._log.warning("subscription.check_failed", reason=str(error))
            return self._failed(f"the last check failed: {error}")
        except Exception:  # noqa: BLE001 - the thread must continue after any error
            self._log.exception("subscription.check_failed")
            return self._failed("the last check failed unexpectedly")
        for step in steps:
            self._report(step)
        return self._checked(steps)

    def _checked(self, steps: Sequence[Step]) -> float:
        missing = [step for step in steps if step.what == "subscription" and _is_missing(step)]
        made = [step for step in steps if step.action == "make"]
        before, self._made = self._made, frozenset((step.what, step.number) for step in made)
        self._metrics.subscription_checks["done"].inc()
        self._metrics.subscriptions_missing.set(len(missing))
        self._metrics.subscriptions_made.inc(sum(step.what == "subscription" for step in made))
        if missing:
            numbers = ", ".join(_shown(step.number) for step in missing)
            self._state = (False, f"missing: {numbers} ({missing[0].why})")
            return self._backoff()
        self._state = (True, f"{len(self._declared.targets)} as declared")
        soon = min(SOON, self._interval)
        if before & self._made:
            # If the provider does not list created subscriptions, every check would create another one.
            self._log.warning(
                "subscription.remade", hint="a subscription of the last check was missing again"
            )
            return max(soon, self._backoff())
        self._failures = 0
        # Less than the interval, so that a subscription that vanishes now is created within the interval.
        return soon if made else self._interval * (0.7 + 0.2 * _chance())

    def _failed(self, why: str) -> float:
        self._metrics.subscription_checks["failed"].inc()
        self._state = (False, why)
        return self._backoff()

    def _backoff(self) -> float:
        """Return the seconds until the next attempt: exponential back-off with jitter, up to the interval."""
        bound = min(self._interval, 2.0 ** min(self._failures, 30))
        self._failures += 1
        return bound * (0.5 + 0.5 * _chance())

    def _report(self, step: Step) -> None:
        fields = {f"{step.what}_id": step.id, "reason": step.why}
        if step.what == "subscription":
            fields["number"] = _shown(step.number)
        fields = {key: value for key, value in fields.items() if value is not None}
        if step.action == "make":
            self._log.info(f"{step.what}.made", **fields)
        elif step.action == "remove":
            self._log.info(f"{step.what}.removed", **fields)
        elif step.action == "fail":
            self._log.warning(f"{step.what}.{'missing' if _is_missing(step) else 'unremoved'}", **fields)


def _is_missing(step: Step) -> bool:
    """Whether the step failed to create something; a failed removal has an id."""
    return step.action == "fail" and step.id is None


def _shown(number: str | None) -> str:
    return "the default number" if number is None else mask_number(number)


def _chance() -> float:
    return random.random()  # noqa: S311 - spread, not secrecy
