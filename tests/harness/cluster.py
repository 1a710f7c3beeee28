"""Three real RabbitMQ nodes of the suite's own in one cluster, and what can happen to them.

The nodes stand on ports of 127.0.0.1. With `partitions` each has a network namespace of its own instead, so that a node
can be cut off from the others while clients on the host reach it, or from everything; that needs root.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from typing import TYPE_CHECKING

from tests.harness import network_namespaces
from tests.harness.broker import SUITE, Broker, adding, binary
from tests.harness.broker_client import LIST
from tests.harness.broker_configuration import Site
from tests.harness.rabbitmq_programs import BrokerMissing
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The name of a node in what Erlang prints.
NAME = re.compile(r"t\d+@[\d.]+")
#: Nodes of a cluster.
SIZE = 3
#: Seconds that a node may take to come up: three start at once, and each waits for the others.
UP = 120
#: Seconds in which a node that was cut off comes back by itself, where it does.
REJOINED = 30
#: Seconds without a tick after which a node takes another for dead; RabbitMQ's default.
NET_TICKTIME = 60
CONFIG = "cluster_partition_handling = pause_minority\n"
#: As `broker_configuration.ADVANCED`, and how long a silent node passes for a living one.
ADVANCED = (
    "[{{rabbit, [{{dead_letter_worker_publisher_confirm_timeout, 5000}}]}},"
    " {{kernel, [{{net_ticktime, {net_ticktime}}}]}}]."
)


class Cluster:
    """Three nodes; what happens to one of them is done to its `Broker`. Times are in seconds."""

    def __init__(
        self,
        *,
        partitions: bool = False,
        net_ticktime: int = NET_TICKTIME,
        joined: bool = True,
        plugins: str = "",
    ) -> None:
        """Prepare three nodes; with `joined` false the first is alone until `join` is called on the others.

        Raises:
            BrokerMissing: RabbitMQ is not installed, or `partitions` needs namespaces that are not allowed here.

        """
        if partitions and not network_namespaces.allowed():
            raise BrokerMissing("network namespaces need root, ip(8) and unshare(1)")
        self._network = network_namespaces.Network(SIZE) if partitions else None
        self._lost: set[Broker] = set()
        self._vhosts: list[str] = []
        cookie, epmd_port = secrets.token_hex(), free_port()
        advanced = ADVANCED.format(net_ticktime=net_ticktime)
        self.nodes: list[Broker] = []
        for index in range(SIZE):
            site = Site(
                address=self._network.addresses[index] if self._network else "127.0.0.1",
                inside=self._network.inside(index) if self._network else (),
                cookie=cookie,
                epmd_port=epmd_port,
                config=CONFIG,
            )
            self.nodes.append(Broker(plugins, advanced, site))
        #: The nodes that are in the cluster, whether they run or not.
        self.joined = self.nodes[: SIZE if joined else 1]
        if joined:
            for node in self.nodes:
                node.know(other.name for other in self.nodes)

    # -- life --------------------------------------------------------------------------------------

    def start(self, nodes: Sequence[Broker] | None = None) -> None:
        """Start those nodes that don't run, all at once, and wait until each takes logins and sees the others."""
        down = [node for node in (self.nodes if nodes is None else nodes) if not node.running]
        for node in down:
            node.launch()
        for node in down:
            node.wait_up(UP)
        self.wait_whole()

    def stop(self) -> None:
        """Take everything down, whatever state it is in."""
        for node in self.nodes:
            node.stop()
        if self._network is not None:
            self._network.close()

    def restore(self) -> None:
        """Undo what a test did: every node runs, in one cluster."""
        for node in list(self._lost):
            self.heal(node)
        self.thaw()
        for node in self._left_out():
            node.terminate()
        self.start()

    @property
    def running(self) -> bool:
        """Whether every node's process lives."""
        return all(node.running for node in self.nodes)

    def thaw(self) -> None:
        """Let frozen nodes go on."""
        for node in self.nodes:
            node.thaw()

    def wait_whole(self) -> None:
        """Wait until every node that runs sees every other one."""
        running = [node for node in self.nodes if node.running]
        for node in running:
            wait_until(
                lambda node=node: len(self._seen(node)) >= len(running),  # type: ignore[misc]  # mypy reads no default
                UP, every=0.2, what=f"{node.name} sees the others; see {node.log}",
            )  # fmt: skip

    def join(self, node: Broker) -> None:
        """Have a node that runs alone join the first one's cluster, as an operator does: it forgets what it held."""
        for command in (["stop_app"], ["reset"], ["join_cluster", self.nodes[0].name], ["start_app"]):
            node.ctl(*command, timeout=UP)
        node.wait_up(UP)
        self.joined.append(node)

    def roll(self, node: Broker) -> None:
        """Restart a node in order, as in a rolling upgrade: once no queue would lose its quorum by it."""
        node.eval(f"rabbit_upgrade_preparation:await_online_quorum_plus_one({UP * 1000}).", timeout=UP + 5)
        node.terminate()
        self.start([node])

    # -- the network -------------------------------------------------------------------------------

    def cut_off(self, node: Broker, *, from_host: bool = False) -> None:
        """Cut a node off from the others, silently; with `from_host`, from every client as well."""
        assert self._network is not None, "Cluster(partitions=True) has a network to cut"
        self._network.cut_off(self.nodes.index(node), from_host=from_host)
        self._lost.add(node)

    def heal(self, node: Broker) -> None:
        """Undo `cut_off`."""
        assert self._network is not None
        self._network.heal(self.nodes.index(node))
        self._lost.discard(node)

    # -- virtual hosts and queues ------------------------------------------------------------------

    def new_vhost(self) -> str:
        """Return the name of a virtual host that nothing has touched, there on every node; those before are deleted.

        Every node must run: the members of a deleted queue on a node that is down would be waited for.
        """
        for old in self._vhosts:
            # Its queues would go on costing the nodes.
            self.nodes[0].eval(f"rabbit_vhost:delete({binary(old)}, {SUITE}), ok.", timeout=UP)
        name = f"c{free_port()}"
        self._vhosts = [name]
        self.nodes[0].eval(f"{adding(name)}, ok.")
        seen = self._seen(self.nodes[0])
        for node in self.nodes:
            if node.name in seen:
                wait_until(
                    lambda node=node: (
                        node.eval(f"rabbit_vhost_sup_sup:is_vhost_alive({binary(name)}).") == "true"
                    ),  # type: ignore[misc]
                    what=f"virtual host {name} on {node.name}",
                )
        return name

    def url(self, vhost: str, port: int | None = None, first: int = 0) -> str:
        """Return the list of URLs of `vhost`, one for each node, beginning with the `first`; it has no one port."""
        assert port is None
        return LIST.join(self.urls(vhost, first))

    def queues(self, vhost: str) -> list[str]:
        """Return the names of the queues, as `Broker.queues` does."""
        return self.living().queues(vhost)

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` at a node that lives."""
        return self.living().ctl(*arguments)

    def urls(self, vhost: str, first: int = 0) -> list[str]:
        """Return the AMQP URL of `vhost` at each node, beginning with the `first`."""
        return [node.url(vhost) for node in [*self.nodes[first:], *self.nodes[:first]]]

    def living(self) -> Broker:
        """Return a node that runs, is not frozen and not cut off."""
        return next(n for n in self.nodes if n.running and not n.is_frozen and n not in self._lost)

    def leader(self, vhost: str, queue: str) -> Broker:
        """Return the node of a queue's leader, as a living node knows it."""
        found = self.living().eval(f"{_looked_up(vhost, queue)}, element(2, amqqueue:get_pid(Q)).")
        return self._named(found)

    def followers(self, vhost: str, queue: str) -> list[Broker]:
        """Return the nodes of a queue's other members."""
        leader = self.leader(vhost, queue)
        return [node for node in self.members(vhost, queue) if node is not leader]

    def members(self, vhost: str, queue: str) -> list[Broker]:
        """Return the nodes that hold a copy of the queue."""
        nodes = f"{_looked_up(vhost, queue)}, maps:get(nodes, amqqueue:get_type_state(Q))."
        found = self.living().eval(nodes)
        return [self._named(name) for name in NAME.findall(found)]

    def consumers(self, vhost: str, queue: str) -> dict[Broker, int]:
        """Return how many consumers of a queue each node has."""
        mine = f"element(4, proplists:get_value(queue_name, C)) =:= {binary(queue)}"
        every = f"C <- rabbit_amqqueue:consumers_all({binary(vhost)})"
        nodes = f"[node(proplists:get_value(channel_pid, C)) || {every}, {mine}]."
        found = NAME.findall(self.living().eval(nodes))
        return {node: found.count(node.name) for node in self.nodes}

    def lead(self, vhost: str, queue: str, node: Broker) -> None:
        """Make a node's member the leader of a queue."""
        living = self.living()
        if self.leader(vhost, queue) is not node:
            moved = f"{{N, _}} = P = amqqueue:get_pid(Q), ra:transfer_leadership(P, {{N, '{node.name}'}})."
            living.eval(f"{_looked_up(vhost, queue)}, {moved}")
            wait_until(lambda: self.leader(vhost, queue) is node, what=f"{node.name} leads {queue}")

    def grow(self, node: Broker) -> None:
        """Give every quorum queue a member on a node, as an operator does."""
        self.living().ctl("grow", node.name, "all", program="rabbitmq-queues", timeout=UP)

    def rebalance(self) -> None:
        """Spread the leaders of the quorum queues over the nodes, as an operator does."""
        self.living().ctl("rebalance", "quorum", program="rabbitmq-queues", timeout=UP)

    # -- inside ------------------------------------------------------------------------------------

    def _named(self, name: str) -> Broker:
        return next(node for node in self.nodes if node.name == name.strip("'"))

    def _left_out(self) -> list[Broker]:
        """Return the nodes that run and stay outside the cluster: RabbitMQ 3.10 may wait for its tables for ever.

        docs/cluster.md has the log's lines; its operator restarts such a node.
        """
        running = [node for node in self.nodes if node.running]
        with contextlib.suppress(AssertionError):
            wait_until(lambda: all(map(self._is_in, running)), REJOINED, every=1)
        return [node for node in running if not self._is_in(node)]

    def _is_in(self, node: Broker) -> bool:
        return node.eval("rabbit:is_running().", timeout=10) == "true"

    def _seen(self, node: Broker) -> list[str]:
        """Return the running nodes that a node sees, itself included."""
        seen = "[N || N <- [node() | nodes()], rpc:call(N, rabbit, is_running, []) =:= true]."
        return NAME.findall(node.eval(seen))


def _looked_up(vhost: str, queue: str) -> str:
    """Return the Erlang that binds `Q` to a queue."""
    return f"{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r({binary(vhost)}, queue, {binary(queue)}))"
