"""Prometheus gauges of a worker, read when it is scraped, so that commands do not pay for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client import Metric

    from bridge.domain.circuit_breaker import CircuitBreaker
    from bridge.ports import Clock, Depth

BREAKER_STATES = ("closed", "half_open", "open")
#: The reasons why nothing is sent: the account is refused, the provider is down, the broker or the ledger is
#: unavailable, or outcomes are unconfirmed after lost connections.
STOPS = ("account", "provider", "broker", "ledger", "unconfirmed")


class WorkerState(NamedTuple):
    """A snapshot of a worker."""

    #: Commands that it holds, whether parsed or not.
    commands: int
    #: When the oldest of them was published, in seconds since the epoch; None if no publisher set a `timestamp`.
    oldest_at: float | None
    #: Submissions that wait in the worker for their rate limit.
    limited: int
    #: Submissions that are being claimed, sent, looked up or recorded.
    in_flight: int
    breaker: CircuitBreaker
    #: Whether the broker and the ledger are available.
    broker: bool
    ledger: bool
    #: Whether deliveries of lost connections hold up the others: see `InFlight.is_clogged`.
    lost: bool

    def stops(self) -> frozenset[str]:
        """Return the reasons of `STOPS` that apply."""
        holds = {
            "account": self.breaker.is_open and self.breaker.cause == "account",
            "provider": self.breaker.is_open and self.breaker.cause == "provider",
            "broker": not self.broker,
            "ledger": not self.ledger,
            "unconfirmed": self.lost,
        }
        return frozenset(why for why, held in holds.items() if held)


class Source(Protocol):
    """The source of commands, with the properties that are measured."""

    @property
    def connected(self) -> bool: ...
    @property
    def consuming(self) -> bool: ...
    @property
    def depth(self) -> Depth | None: ...


class WorkerGauges(Collector):
    """Reads a worker, its source and its token. On the thread of the metrics endpoint, without waits."""

    def __init__(
        self,
        state: Callable[[], WorkerState],
        source: Source,
        token_times: Callable[[], tuple[float, float] | None],
        clock: Clock,
    ) -> None:
        """`token_times` returns the age and the remaining life of the access token, in seconds."""
        self._state = state
        self._source = source
        self._token_times = token_times
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """Return each gauge; one without a known value has no sample."""
        state = self._state()
        age = 0.0 if state.oldest_at is None else max(0.0, self._clock.now() - state.oldest_at)
        depth = self._source.depth
        token_age, token_left = self._token_times() or (None, None)
        stops = state.stops()
        # fmt: off
        return (
            _gauge("commands_in_flight", "Commands that this process holds.", state.commands),
            _gauge("commands_oldest_age_seconds",
                "Age of the oldest command that this process holds, by its AMQP timestamp; 0 without a plausible one. "
                "Commands in the queue are not included, and may be older.", age),
            _gauge("commands_rate_limited",
                "Submissions that wait in this process for their rate limit. Those with longer waits are in the delay "
                "queues.", state.limited),
            _gauge("submissions_in_flight",
                "Submissions that are being claimed, sent, looked up or recorded. At most worker.concurrency plus "
                "one sixteenth.", state.in_flight),
            _states("circuit_breaker", "1 for the current state of the circuit breaker.", "state",
                dict.fromkeys(BREAKER_STATES, 0) | {state.breaker.state: 1}),
            _gauge("circuit_breaker_limit", "Concurrent calls that the circuit breaker allows.", state.breaker.allowed),
            _states("sending_stopped", "1 for each reason why this process consumes no commands.", "why",
                {why: int(why in stops) for why in STOPS}),
            _gauge("consuming", "1 while this process is a consumer of the command queue.",
                int(self._source.consuming)),
            _gauge("command_queue_ready",
                "Commands in the queue that were not delivered, as the broker reported within the last seconds. All "
                "workers report the same number.", depth and depth.ready),
            _gauge("command_queue_consumers",
                "Consumers of the command queue. All workers report the same number.", depth and depth.consumers),
            _gauge("token_age_seconds", "Age of the access token.", token_age),
            _gauge("token_left_seconds",
                "Remaining life of the access token. A call renews it after half its life.", token_left),
        )
        # fmt: on


def _gauge(name: str, help_text: str, value: float | None) -> Metric:
    family = GaugeMetricFamily(f"sms_bridge_{name}", help_text)
    if value is not None:
        family.add_metric([], value)
    return family


def _states(name: str, help_text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(f"sms_bridge_{name}", help_text, labels=[label])
    for value, holds in values.items():
        family.add_metric([value], holds)
    return family
