"""The plan of a simulation, its costs and its result. Times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from bridge.domain.rules import LimitRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Costs, in processor seconds unless another unit is given."""

    #: A worker's, for each command: its call, and all else but the ledger.
    call: float
    loop: float
    #: A worker's within a transaction, for each change and each commit.
    change: float
    commit: float
    #: The ledger's server's, for each change and each commit; a SQLite ledger has none.
    server_change: float = 0.0
    server_commit: float = 0.0
    #: Seconds until the log is on the disk, and that a transaction's statements are on the network.
    sync: float
    network: float = 0.0
    #: The broker's for each command and its event, and a queue's for each.
    broker: float
    queue: float
    #: The stand-in's for the provider; 0 without it.
    provider: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The fleet that is simulated."""

    workers: int
    shards: int = 1
    in_flight: int = 16
    sqlite: bool = False
    limits: LimitRules = field(default_factory=LimitRules)
    #: A provider's latency: the median, and the standard deviation of its logarithm.
    latency: float = 0.15
    spread: float = 0.5
    #: Processors of each ledger's server, and of the broker.
    ledger_cores: int = 8
    broker_cores: int = 8
    #: Processors that all share, the above not counted; 0 where every worker has its own.
    shared_cores: int = 0
    #: How many of those are busy with something else, on average.
    others: float = 0.0
    #: Commands that come in a second; 0 where the queues are never empty.
    offered: float = 0.0
    commands: int = 20_000
    seed: int = 1

    @property
    def limited(self) -> bool:
        """Whether claims reserve send times of rate limits."""
        return bool(self.limits.account_per_second or self.limits.sender_per_second)


@dataclass(slots=True, kw_only=True)
class Result:
    """The result. Shares are of the time, of the busiest of each kind."""

    per_second: float
    commits_per_second: float
    changes_per_commit: float
    worker: float
    ledger: float
    lock: float
    broker: float
    queue: float
    #: From each command's arrival on the queue to its call.
    waits: list[float]
