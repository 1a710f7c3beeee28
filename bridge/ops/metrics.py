"""Prometheus metrics. Label values come from closed lists: never an id, a phone number or a text."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from bridge.domain import events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


OUTCOMES = tuple(sorted(events.TERMINAL))
DEAD_LETTERS = tuple(sorted(events.DEAD_LETTERS))
#: Why the broker dead-lettered a command (RabbitMQ's `x-death`); `other` for any further reason.
GIVEN_UP = ("expired", "maxlen", "delivery_limit", "rejected", "other")
#: The five answers of `bridge.domain.answers`, in lower case.
ANSWERS = ("accepted", "refused", "unsent", "ambiguous", "blocked")
#: How an attempt is retried: by the gateway itself, or through the delay queues.
RETRIES = ("immediate", "delayed")
#: Results of a history lookup (`bridge.domain.ledger.resolve`).
LOOKUP_RESULTS = ("found", "not_found", "undetermined", "again")
#: `none`: the request was refused before its body was read, or the body could not be parsed.
NOTIFICATIONS = (
    events.INBOUND_RECEIVED,
    events.OUTBOUND_SYNCED,
    events.SUBSCRIPTION_CANCELLED,
    events.MESSAGE_EVENT,
    events.DELIVERED,
    events.UNDELIVERED,
    events.NOTIFICATION_UNRECOGNIZED,
    "none",
)
EVIDENCE = ("kept", "dropped")
CHECKS = ("done", "failed")
RECEIPTS = ("delivered", "undelivered", "given_up")
#: Operations of the command API with their status codes; `none`: there is no such operation.
SUBMITS = (
    *product(["submit"], (202, 400, 401, 408, 409, 413, 415, 422, 503)),
    *product(["show"], (200, 400, 401, 404, 408, 413, 503)),
    *product(["none"], (404, 405)),
)
STATUSES = (204, 400, 401, 403, 404, 405, 408, 413, 415, 503)

#: Histogram buckets in seconds: provider calls, broker confirms, a command's age at its first call, ledger commits.
_CALL = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60)
_CONFIRM = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_AGE = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
_COMMIT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256)


M = TypeVar("M")


class _Row(Generic[M]):
    """Descriptor of a metric: each instance creates it on first access and keeps it as an attribute."""

    def __init__(self, make: Callable[[CollectorRegistry], M]) -> None:
        self._make = make

    def __set_name__(self, _: type, name: str) -> None:
        self._name = name

    def __get__(self, metrics: Metrics | SupervisorMetrics, _: type | None = None) -> M:
        made = metrics.__dict__[self._name] = self._make(metrics.registry)
        return made


def _counter(name: str, help_text: str) -> _Row[Counter]:
    return _Row(lambda registry: Counter(f"sms_bridge_{name}", help_text, registry=registry))


def _gauge(name: str, help_text: str) -> _Row[Gauge]:
    return _Row(lambda registry: Gauge(f"sms_bridge_{name}", help_text, registry=registry))


def _histogram(name: str, buckets: tuple[float, ...], help_text: str) -> _Row[Histogram]:
    return _Row(
        lambda registry: Histogram(f"sms_bridge_{name}", help_text, buckets=buckets, registry=registry)
    )


def _counters(name: str, label: str, values: Iterable[str], help_text: str) -> _Row[Mapping[str, Counter]]:
    def make(registry: CollectorRegistry) -> Mapping[str, Counter]:
        counter = Counter(f"sms_bridge_{name}", help_text, (label,), registry=registry)
        return {value: counter.labels(value) for value in values}

    return _Row(make)


def _by_code(
    name: str, label: str, pairs: Iterable[tuple[str, int]], help_text: str
) -> _Row[Mapping[tuple[str, int], Counter]]:
    known = tuple(pairs)

    def make(registry: CollectorRegistry) -> Mapping[tuple[str, int], Counter]:
        counter = Counter(f"sms_bridge_{name}", help_text, (label, "code"), registry=registry)
        return {(value, code): counter.labels(value, code) for value, code in known}

    return _Row(make)


def _make_all(metrics: Metrics | SupervisorMetrics) -> None:
    for row in vars(type(metrics)).values():
        if isinstance(row, _Row):
            row.__get__(metrics)


class Metrics:
    """All metrics of one process, in a separate registry. Safe from any thread; an update takes about 1 µs.

    Every series exists from the start, at zero. An update is `metrics.outcomes[event.type].inc()`; a label that is
    not listed raises KeyError and creates no series.
    """

    # fmt: off
    # --- commands
    commands = _counter("commands_received", "Commands taken from the queue, with redeliveries.")
    unknown_fields = _counter("commands_with_unknown_fields",
        "Commands with an unknown field, each counted once.")
    outcomes = _counters("outcomes", "type", OUTCOMES, "Outcomes recorded, by event type.")
    attempts = _counters("attempts", "answer", ANSWERS, "HTTP calls that send, by result.")
    retries = _counters("retries", "how", RETRIES,
        "Retries: immediate ones within seconds, and delayed ones through the delay queues, lookups included.")
    lookups = _counters("history_lookups", "result", LOOKUP_RESULTS,
        "Lookups in the provider's history for a submission in doubt, by result.")
    claims_lost = _counter("claims_lost", "Answers that came after another worker had claimed the submission.")
    call_seconds = _histogram("api_call_seconds", _CALL,
        "Seconds from submitting a call to its answer, with immediate retries.")
    age_seconds = _histogram("command_age_at_call_seconds", _AGE,
        "A command's age at its first call to the provider.")
    dead_letters = _counters("dead_letters", "type", DEAD_LETTERS, "Commands left on the dead-letter queue.")
    given_up = _counters("commands_given_up", "reason", GIVEN_UP,
        "Commands that the broker dead-lettered, by its reason; each has an outcome.")
    returned = _counter("dead_letters_returned",
        "Dead letters found on the command queue and moved back to the dead-letter queue.")
    unrouted = _counter("publishes_unrouted", "Events that no queue is bound for; they are in the unrouted queue.")
    commit_seconds = _histogram("ledger_commit_seconds", _COMMIT, "Commits of the ledger.")
    commit_changes = _histogram("ledger_commit_changes", _BATCH, "Changes in one commit.")

    # --- receipts
    receipts = _counters("receipts", "result", RECEIPTS,
        "Receipts polled from the provider, by final result.")
    receipt_calls = _counter("receipt_calls", "HTTP calls that polled for receipts.")
    receipts_late = _gauge("receipts_late_seconds",
        "Seconds by which the oldest due receipt poll is late.")

    # --- notifications
    notifications = _by_code("notifications", "type", product(NOTIFICATIONS, STATUSES),
        "Requests to the webhook, by event type and status code.")
    repeated = _counter("notifications_repeated",
        "Repeated notifications: answered 204, not published again.")
    not_deduplicated = _counter("notifications_not_deduplicated",
        "Notifications published although the ledger could not confirm that they are new.")
    recovered = _counter("notifications_recovered",
        "Messages found in the provider's history that no webhook delivered.")
    repaired = _counter("notifications_repaired",
        "Notifications with half a surrogate pair: their events have U+FFFD in its place.")
    evidence = _counters("evidence", "result", EVIDENCE,
        "Outbound-message notifications, by whether they were written to the ledger.")
    webhook_seconds = _histogram("webhook_to_confirm_seconds", _CONFIRM,
        "Seconds from a notification's last byte until its event is durable.")
    spool_events = _gauge("spool_events", "Events in the spool.")
    spool_bytes = _gauge("spool_bytes", "Bytes of the events in the spool.")
    spool_age = _gauge("spool_oldest_age_seconds", "The age of the oldest event in the spool.")
    spool_accepting = _gauge("spool_accepting",
        "1 while the spool can store events; NaN without a spool.")
    spooled = _counter("spool_kept", "Events stored in the spool.")
    drained = _counter("spool_drained", "Spooled events that the broker has confirmed.")
    quarantined = _gauge("spool_quarantined_files", "Damaged spool files that wait for `bridge spool recover`.")
    damaged = _counter("spool_damaged", "Damaged events and files of the spool, in quarantine.")
    subscriptions_declared = _gauge("subscriptions_declared", "Subscriptions that this ingest maintains.")
    subscriptions_missing = _gauge("subscriptions_missing", "Those that were missing after the last check.")
    subscriptions_made = _counter("subscriptions_made", "Missing subscriptions that were created again.")
    subscription_checks = _counters("subscription_checks", "result", CHECKS, "Checks of the provider's subscriptions.")

    # --- commands over HTTP
    submits = _by_code("submit_requests", "operation", SUBMITS,
        "Requests to the command API, by operation and status code.")
    submit_seconds = _histogram("submit_to_confirm_seconds", _CONFIRM,
        "Seconds from a command's last byte over HTTP to the broker's confirm.")

    # --- the process
    broker_connected = _gauge("broker_connected", "1 while all required connections to the broker are open.")
    broker_blocked = _gauge("broker_blocked", "1 while the broker blocks publishers (an alarm).")
    ready = _gauge("ready", "1 while /readyz reports ready.")
    # fmt: on

    def __init__(self, *, version: str) -> None:
        self.registry = CollectorRegistry()
        _make_all(self)
        self.spool_accepting.set(math.nan)
        #: Read at each scrape: whether each connection to the broker is open, and whether it has an alarm.
        self.connections: list[Callable[[], bool]] = []
        self.alarms: list[Callable[[], bool]] = []
        self.broker_connected.set_function(
            lambda: bool(self.connections) and all(is_there() for is_there in self.connections)
        )
        self.broker_blocked.set_function(lambda: any(is_raised() for is_raised in self.alarms))
        ProcessCollector(registry=self.registry)
        Info("sms_bridge_build", "The program's version.", registry=self.registry).info({"version": version})

    def add_webhook_gauge(self, is_listening: Callable[[], bool]) -> None:
        """Add the gauge of a listening webhook. Only processes with a webhook have it: its absence is an alert."""
        Gauge(
            "sms_bridge_webhook_listening", "1 while the webhook listens.", registry=self.registry
        ).set_function(is_listening)


class SupervisorMetrics:
    """Metrics of the supervisor itself, in addition to those of its processes."""

    running = _gauge("processes_running", "Worker processes that listen.")
    restarts = _counter("process_restarts", "Worker processes that exited by themselves; each is restarted.")

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        _make_all(self)
