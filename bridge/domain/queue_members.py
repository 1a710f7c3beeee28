"""Checks of quorum queues for missing members and for members that are not online."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

#: The recommended number of members; more cost more than they are worth (docs/cluster.md).
ENOUGH = 3
#: The advice if the bridge cannot see the members.
UNSEEN = (
    "the members of the queues on a cluster cannot be seen over AMQP: set broker.management_url, or run "
    "`rabbitmqctl list_queues --vhost VHOST name members online` on a node"
)
#: Queues named in one line.
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueMembers:
    """The nodes with a replica of a quorum queue."""

    queue: str
    members: frozenset[str]
    #: Members that are running.
    online: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """A problem with the members of some queues, and the advice."""

    seen: str
    advice: str
    #: Whether the queues are unavailable now.
    is_down: bool


def shortages(nodes: Collection[str], queues: Iterable[QueueMembers]) -> Iterator[Shortage]:
    """Yield the problems, each for all affected queues. `nodes` are all nodes of the cluster, running or not."""
    few: dict[frozenset[str], list[str]] = defaultdict(list)
    offline: dict[tuple[frozenset[str], bool], list[str]] = defaultdict(list)
    for queue in queues:
        if len(queue.members) < min(ENOUGH, len(nodes)):
            few[queue.members].append(queue.queue)
        if missing := queue.members - queue.online:
            is_down = 2 * len(queue.online) <= len(queue.members)
            offline[missing, is_down].append(queue.queue)
    for (missing, is_down), names in offline.items():
        yield _offline(names, sorted(missing), is_down=is_down)
    for members, names in few.items():
        lacking = sorted(set(nodes) - members)[: ENOUGH - len(members)]
        yield _few(names, len(members), len(nodes), lacking)


def unseen(expected: Collection[str], queues: Iterable[QueueMembers]) -> str | None:
    """Return a text with the queues whose members are not shown; None if there are no such queues."""
    lacking = set(expected) - {queue.queue for queue in queues}
    return f"{_some(list(lacking))}: the management API shows no members" if lacking else None


def _offline(names: Sequence[str], missing: Sequence[str], *, is_down: bool) -> Shortage:
    where = ", ".join(missing)
    members = f"member on {where} is" if len(missing) == 1 else f"members on {where} are"
    seen = f"{_some(names)}: the {members} not online"
    if is_down:
        seen += ", so there is no majority: nothing can be published there or consumed from there"
    return Shortage(seen=seen, advice=f"start RabbitMQ on {where}", is_down=is_down)


def _few(names: Sequence[str], number: int, nodes: int, lacking: Sequence[str]) -> Shortage:
    grow = "; ".join(f"rabbitmq-queues grow {node} all" for node in lacking)
    members = "member" if number == 1 else "members"
    return Shortage(
        seen=f"{_some(names)}: {number} {members} on a cluster of {nodes} nodes",
        advice=f"run on a node: {grow}; rabbitmq-queues rebalance quorum",
        is_down=False,
    )


def _some(names: Sequence[str]) -> str:
    """Return a few names, the shortest first: delay queues are many, have long names and matter less."""
    shown = sorted(names, key=lambda name: (len(name), name))[:_NAMED]
    more = len(names) - len(shown)
    return f"{', '.join(shown)} and {more} more queues" if more else ", ".join(shown)
