"""From one node to three: the queues keep one member until they are grown, and the command line says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.commands import run
from tests.conftest import or_skip
from tests.faults.cluster.scenario import ClusterScenario
from tests.faults.conftest import CLUSTER, REPORTS
from tests.harness.cluster import Cluster
from tests.harness.rabbitmq_programs import BrokerMissing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.commands import Done
    from tests.harness.broker import Broker

#: Seconds of load while the cluster grows, and commands a second.
GROWTH = 90.0
RATE = 10.0

pytestmark = [pytest.mark.broker, pytest.mark.acceptance, pytest.mark.cluster]


@pytest.fixture
def alone() -> Iterator[Cluster]:
    """Run three nodes that are no cluster yet, with the management plugin."""
    cluster = or_skip(lambda: Cluster(plugins="rabbitmq_management", joined=False), BrokerMissing)
    try:
        for node in cluster.nodes:
            node.launch()
        for node in cluster.nodes:
            node.wait_up(120)
        yield cluster
    finally:
        cluster.stop()


def test_queues_of_one_node_are_found_until_they_are_grown_and_named_when_it_dies(alone: Cluster) -> None:
    first, *others = alone.nodes
    vhost = first.new_vhost()

    def bridge(*arguments: str, node: Broker = first, managed: bool = True) -> Done:
        url = f"http://guest:guest@127.0.0.1:{node.management_port}" if managed else ""
        env = {"BRIDGE_BROKER__URL": node.url(vhost), "BRIDGE_BROKER__MANAGEMENT_URL": url}
        return run(*arguments, env=env)

    assert bridge("topology", "declare").code == 0
    before = bridge("topology", "check")
    for node in others:
        alone.join(node)
    alone.wait_whole()
    few = bridge("topology", "check")
    blind = bridge("topology", "check", managed=False)
    first.kill()
    dead = bridge("doctor", node=others[0], managed=False)
    dead_and_managed = bridge("doctor", node=others[0])
    alone.start()
    for node in others:
        alone.grow(node)
    grown = bridge("topology", "check")
    others[1].kill()
    one_offline = bridge("topology", "check")

    assert (before.code, before.stdout) == (0, "")
    assert few.code == 1
    assert (
        "sms.dead, sms.send, sms.given_up and 29 more queues: 1 member on a cluster of 3 nodes" in few.stdout
    )
    assert all(f"rabbitmq-queues grow {node.name} all" in few.stdout for node in others)
    assert blind.code == 0
    assert "sms.send, sms.unrouted: no majority of the queue's members is online" in dead.stdout
    assert "start `bridge worker`" not in dead.stdout
    assert f"the member on {first.name} is not online, so there is no majority" in dead_and_managed.stdout
    assert (grown.code, grown.stdout) == (0, "")
    assert one_offline.code == 1
    assert f"the member on {others[1].name} is not online: start RabbitMQ on" in one_offline.stdout


def test_cluster_that_grows_from_one_node_to_three_under_load_loses_nothing(
    alone: Cluster, tmp_path: Path, postgresql_url: str, request: pytest.FixtureRequest
) -> None:
    """The steps of docs/cluster.md, "From one node to three", in their order."""
    first, *others = alone.nodes
    name, report = "grown from one node to three by docs/cluster.md", request.config.stash[REPORTS][CLUSTER]
    with ClusterScenario(name, alone, tmp_path, report, ledger=postgresql_url) as scenario:
        scenario.start_all()
        scenario.load(GROWTH, RATE)
        scenario.wait_load(0.1)
        for node in others:
            alone.join(node)
            scenario.fired["nodes joined"] += 1
        for node in others:
            alone.grow(node)
        members = {queue: alone.members(scenario.vhost, queue) for queue in alone.queues(scenario.vhost)}
        alone.rebalance()
        scenario.restart_all()
        alone.roll(first)
        scenario.fired["nodes restarted"] += 1
        scenario.wait_load()
        code, shown = scenario.operate("doctor")
        scenario.kept(within=120)

        assert len(members) > 30
        assert {queue for queue, nodes in members.items() if set(nodes) != set(alone.nodes)} == set()
        assert code == 0
        assert all(f"127.0.0.1:{node.port}" in shown for node in alone.nodes)
