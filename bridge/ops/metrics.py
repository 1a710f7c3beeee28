"""The numbers the bridge tells Prometheus. Labels come from closed lists: never an id, a number or a text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from bridge.domain import events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

OUTCOMES = tuple(sorted(events.TERMINAL))
DEAD_LETTERS = tuple(sorted(events.DEAD_LETTERS))
#: Why the broker gives a command up (RabbitMQ's `x-death`); `other` for any further reason.
GIVEN_UP = ("expired", "maxlen", "delivery_limit", "rejected", "other")
#: The five answers of `bridge.domain.answers`, in small letters.
ANSWERS = ("accepted", "refused", "unsent", "ambiguous", "blocked")
#: How an attempt is followed by another: by the gateway itself, or by way of the delay.
RETRIES = ("at_once", "delayed")
#: What a look at the history came to (`bridge.domain.ledger.resolve`).
FINDINGS = ("found", "absent", "cannot_tell", "again")
#: `none`: refused before anything of it was read, or not readable.
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
#: What is asked of the door for commands, and what is answered; `none`: no operation that there is.
SUBMITS = {
    "submit": (202, 400, 401, 408, 409, 413, 415, 422, 503),
    "show": (200, 400, 401, 404, 408, 413, 503),
    "none": (404, 405),
}
STATUSES = (204, 400, 401, 403, 404, 405, 408, 413, 415, 503)

#: Seconds: a call to the provider, a confirm of the broker, a command's age when it is called for, a commit.
_CALL = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60)
_CONFIRM = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_AGE = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
_COMMIT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """All metrics of one process, in a registry of their own. Safe from any thread; about 1 µs an update.

    Children of labelled metrics are made here, once, so every series is there from the start, at zero. An update is
    `metrics.outcomes[event.type].inc()`; a label that is not listed is a KeyError, not a new series.
    """

    def __init__(self, *, version: str) -> None:
        self.registry = CollectorRegistry()

        self.commands = self._counter("commands_received", "Commands taken from the queue, redeliveries too.")
        self.unknown_fields = self._counter(
            "commands_with_unknown_fields", "Commands with a field that no command has, each counted once."
        )
        self.outcomes = _by(
            self._counter("outcomes", "Outcomes filed, by event type.", "type"), "type", OUTCOMES
        )
        self.attempts = _by(
            self._counter("attempts", "HTTP calls that send, by what was learnt.", "answer"),
            "answer",
            ANSWERS,
        )
        self.retries = _by(
            self._counter(
                "retries",
                "Attempts that were repeated within seconds, and those that went to the delay, also to be looked for.",
                "how",
            ),
            "how",
            RETRIES,
        )
        self.looks = _by(
            self._counter(
                "looks", "Looks at the provider's history for a submission in doubt, by finding.", "finding"
            ),
            "finding",
            FINDINGS,
        )
        self.claims_lost = self._counter(
            "claims_lost", "Answers that came after another worker had taken their submission over."
        )
        self.call_seconds = self._histogram(
            "api_call_seconds",
            "From handing a submission to a caller until its answer, with what was repeated at once.",
            _CALL,
        )
        self.age_seconds = self._histogram(
            "command_age_at_call_seconds", "A command's age when the provider is first called for it.", _AGE
        )
        self.dead_letters = _by(
            self._counter("dead_letters", "Commands left on the dead-letter queue.", "type"),
            "type",
            DEAD_LETTERS,
        )
        self.given_up = _by(
            self._counter(
                "commands_given_up",
                "Commands that the broker gave up, by its reason: each has an outcome.",
                "reason",
            ),
            "reason",
            GIVEN_UP,
        )
        self.returned = self._counter(
            "dead_letters_returned", "Dead letters that were on the command queue and went back to their own."
        )
        self.unrouted = self._counter(
            "publishes_unrouted", "Events that no queue was bound for: they are on the unrouted queue."
        )

        notifications = self._counter(
            "notifications", "Requests to the webhook, by event type and status code.", "type", "code"
        )
        self.notifications = {
            (kind, code): notifications.labels(type=kind, code=str(code))
            for kind in NOTIFICATIONS
            for code in STATUSES
        }
        self.repeated = self._counter(
            "notifications_repeated", "Notifications that were events already: answered 204, not published."
        )
        self.unchecked = self._counter(
            "notifications_unchecked", "Notifications published without the ledger's word that they are new."
        )
        self.recovered = self._counter(
            "notifications_recovered", "Messages found in the provider's history that no webhook brought."
        )
        self.repaired = self._counter(
            "notifications_repaired",
            "Notifications with half a surrogate pair: their events have U+FFFD in its place.",
        )
        self.evidence = _by(
            self._counter(
                "evidence",
                "Messages that the provider's notifications showed, by whether the ledger was told.",
                "result",
            ),
            "result",
            EVIDENCE,
        )
        self.receipts = _by(
            self._counter(
                "receipts", "Receipts that the provider was asked for, by what was learnt at last.", "result"
            ),
            "result",
            RECEIPTS,
        )
        self.receipt_calls = self._counter("receipt_calls", "HTTP calls that asked for receipts.")
        self.receipts_late = self._gauge(
            "receipts_late_seconds", "For how long the receipt that waits longest is due to be asked for."
        )
        self.webhook_seconds = self._histogram(
            "webhook_to_confirm_seconds",
            "From a notification's last byte to its event being durable.",
            _CONFIRM,
        )
        submits = self._counter(
            "submit_requests",
            "Requests to the door for commands, by what was asked and status code.",
            "operation",
            "code",
        )
        self.submits = {
            (operation, code): submits.labels(operation=operation, code=str(code))
            for operation, codes in SUBMITS.items()
            for code in codes
        }
        self.submit_seconds = self._histogram(
            "submit_to_confirm_seconds",
            "From a command's last byte over HTTP to the broker's confirm.",
            _CONFIRM,
        )
        self.spool_events = self._gauge("spool_events", "Events in the spool.")
        self.spool_bytes = self._gauge("spool_bytes", "Bytes of the events in the spool.")
        self.spool_age = self._gauge("spool_oldest_age_seconds", "The age of the oldest event in the spool.")
        self.spool_accepting = self._gauge(
            "spool_accepting", "1 while the spool can keep events; no number where there is no spool."
        )
        self.spool_accepting.set(math.nan)
        self.spooled = self._counter("spool_kept", "Events that were kept in the spool.")
        self.drained = self._counter("spool_drained", "Events of the spool that the broker has.")
        self.damaged = self._counter(
            "spool_damaged", "Events and files of the spool that are damaged and set aside."
        )

        self.subscriptions_declared = self._gauge(
            "subscriptions_declared", "Subscriptions that this ingest keeps."
        )
        self.subscriptions_missing = self._gauge(
            "subscriptions_missing", "Those of them that were not there after the last check."
        )
        self.subscriptions_made = self._counter(
            "subscriptions_made", "Subscriptions made since they were missing."
        )
        self.subscription_checks = _by(
            self._counter("subscription_checks", "Looks at the provider's subscriptions.", "result"),
            "result",
            CHECKS,
        )

        #: Whether each connection to the broker is there, and whether it has an alarm: asked when scraped.
        self.connections: list[Callable[[], bool]] = []
        self.alarms: list[Callable[[], bool]] = []
        self._gauge(
            "broker_connected", "1 while all connections to the broker that are to be there are."
        ).set_function(lambda: bool(self.connections) and all(is_there() for is_there in self.connections))
        self._gauge("broker_blocked", "1 while the broker takes no publishes (an alarm).").set_function(
            lambda: any(is_raised() for is_raised in self.alarms)
        )
        self.commit_seconds = self._histogram("ledger_commit_seconds", "Commits of the ledger.", _COMMIT)
        self.commit_changes = self._histogram("ledger_commit_changes", "Changes in one commit.", _BATCH)

        self.ready = self._gauge("ready", "1 while /readyz says so.")
        ProcessCollector(registry=self.registry)
        Info("sms_bridge_build", "The program that runs.", registry=self.registry).info({"version": version})

    def watch_webhook(self, is_listening: Callable[[], bool]) -> None:
        """Tell whether the webhook listens. Only a process that is to have one does: that nobody tells is an alert."""
        self._gauge("webhook_listening", "1 while the webhook listens.").set_function(is_listening)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"sms_bridge_{name}", help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(f"sms_bridge_{name}", help_text, registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"sms_bridge_{name}", help_text, buckets=buckets, registry=self.registry)


class SupervisorMetrics:
    """What a supervisor counts by itself, beside the metrics of its processes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.running = Gauge(
            "sms_bridge_processes_running",
            "Worker processes that have begun to listen.",
            registry=self.registry,
        )
        self.restarts = Counter(
            "sms_bridge_process_restarts",
            "Worker processes that ended by themselves; each is replaced.",
            registry=self.registry,
        )


def _by(counter: Counter, label: str, values: Iterable[str]) -> Mapping[str, Counter]:
    return {value: counter.labels(**{label: value}) for value in values}
