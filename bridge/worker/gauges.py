"""What a worker tells Prometheus of how it stands: read when it is scraped, so that no command pays for it."""

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
#: Why nothing is sent: the account is refused, the provider is down, the broker or the ledger takes nothing, or what
#: lost connections left is not told yet.
STOPS = ("account", "provider", "broker", "ledger", "unconfirmed")


class WorkerState(NamedTuple):
    """How a worker stands at one moment."""

    #: Commands that it holds, looked at or not.
    commands: int
    #: When the oldest of them was published, in seconds since the epoch, as far as publishers said so.
    oldest_at: float | None
    #: Submissions that wait in the worker for their rate limit.
    limited: int
    #: Submissions that are being claimed, called for, looked for or filed.
    in_flight: int
    breaker: CircuitBreaker
    #: Whether the broker and the ledger take what they are given.
    broker: bool
    ledger: bool
    lost: bool

    def stops(self) -> frozenset[str]:
        """Return all of `STOPS` that hold."""
        holds = {
            "account": self.breaker.is_open and self.breaker.cause == "account",
            "provider": self.breaker.is_open and self.breaker.cause == "provider",
            "broker": not self.broker,
            "ledger": not self.ledger,
            "unconfirmed": self.lost,
        }
        return frozenset(why for why, held in holds.items() if held)


class Source(Protocol):
    """The source of commands, as far as it is counted."""

    @property
    def connected(self) -> bool: ...
    @property
    def consuming(self) -> bool: ...
    @property
    def depth(self) -> Depth | None: ...


class WorkerGauges(Collector):
    """Reads a worker, its source and its token. On the thread of whoever scrapes; nothing here waits for anything."""

    def __init__(
        self,
        state: Callable[[], WorkerState],
        source: Source,
        token_times: Callable[[], tuple[float, float] | None],
        clock: Clock,
    ) -> None:
        """`token_times` are the age of the access token and the seconds that it has left."""
        self._state = state
        self._source = source
        self._token_times = token_times
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """Return each gauge; those that nobody can tell at the moment have no sample."""
        state = self._state()
        age = 0.0 if state.oldest_at is None else max(0.0, self._clock.now() - state.oldest_at)
        depth = self._source.depth
        token_age, token_left = self._token_times() or (None, None)
        stops = state.stops()
        # fmt: off
        return (
            _gauge("commands_in_flight", "Commands that this process holds.", state.commands),
            _gauge("commands_oldest_age_seconds",
                "The age of the oldest of them by its AMQP timestamp; 0 where none has one. What waits on the queue "
                "is not seen, and may be older.", age),
            _gauge("commands_rate_limited",
                "Submissions that wait in this process for their rate limit; what waits longer is in the delay.",
                state.limited),
            _gauge("submissions_in_flight",
                "Submissions being claimed, called for, looked for or filed; at most worker.concurrency.",
                state.in_flight),
            _states("circuit_breaker", "1 for how far the gate is open.", "state",
                dict.fromkeys(BREAKER_STATES, 0) | {state.breaker.state: 1}),
            _gauge("circuit_breaker_limit", "Calls that the gate admits at once.", state.breaker.allowed),
            _states("sending_stopped", "1 for each reason for which this process takes no commands.", "why",
                {why: int(why in stops) for why in STOPS}),
            _gauge("consuming", "1 while the broker has this process as a consumer.", int(self._source.consuming)),
            _gauge("command_queue_ready",
                "Commands on the queue that nobody was given, as the broker said within the last seconds; all "
                "workers see the same ones.", depth and depth.ready),
            _gauge("command_queue_consumers", "Consumers of the command queue, likewise.", depth and depth.consumers),
            _gauge("token_age_seconds", "The age of the access token.", token_age),
            _gauge("token_left_seconds",
                "For how long the access token is good yet; it is renewed at half its life, and is asked for only "
                "when something is called.", token_left),
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
