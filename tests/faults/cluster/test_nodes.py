"""Nodes of a cluster that are killed, restarted, frozen and cut off under load; a worker that is frozen."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.harness import network_namespaces
from tests.harness.notification_load import post_to_all
from tests.harness.waiting import wait_until
from tests.harness.webhook import Webhook

if TYPE_CHECKING:
    from tests.faults.cluster.conftest import MakeClusterScenario
    from tests.faults.cluster.scenario import ClusterScenario
    from tests.harness.broker import Broker
    from tests.harness.cluster import Cluster

pytestmark = [pytest.mark.broker, pytest.mark.acceptance, pytest.mark.cluster]

#: Commands a second, and seconds of load.
RATE = 20.0
LOAD = 50.0
#: When in that time the fault begins, as a share of it, and for how many seconds it lasts.
BEGIN = 0.2
DOWN = 20.0
FROZEN = 30.0
#: Seconds of a cut: longer than `net_ticktime`, after which the nodes notice; and shorter, from everything.
CUT_OFF = {"the other nodes": 92.0, "everything": 30.0}
#: The queue of commands.
QUEUE = "sms.send"
#: Seconds that sending may pause for a node that is frozen or cut off: an election, and a new connection.
AT_MOST_FROZEN = 12.0
AT_MOST_CUT_OFF = 15.0


def pass_by(seconds: float) -> None:
    """Let so many seconds pass under load."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, seconds + 30, every=0.1)


def lead_beside_workers(cluster: Cluster, scenario: ClusterScenario) -> Broker:
    """Have a node lead the command queue that at most one of three workers consumes from, and return it.

    Workers choose their nodes at random. Those on a node that is frozen or cut off wait for `net_ticktime`, as
    docs/cluster.md says; the scenarios are about the others.
    """
    consumers = cluster.consumers(scenario.vhost, QUEUE)
    leader = min(cluster.nodes, key=lambda node: (consumers[node] != 1, consumers[node]))
    cluster.lead(scenario.vhost, QUEUE, leader)
    return leader


@pytest.mark.parametrize("which", ["leader", "follower"])
def test_killed_node_costs_nothing(
    which: str, cluster: Cluster, make_cluster_scenario: MakeClusterScenario
) -> None:
    with make_cluster_scenario(f"{which} killed, back after {DOWN:g} s") as scenario:
        scenario.start_all().load(LOAD, RATE).wait_load(BEGIN)
        leader, followers = cluster.leader(scenario.vhost, QUEUE), cluster.followers(scenario.vhost, QUEUE)
        node = leader if which == "leader" else followers[0]
        node.kill()
        scenario.fired["nodes killed"] += 1
        pass_by(DOWN)
        cluster.start()
        scenario.wait_load()
        scenario.kept(within=120)


def test_two_killed_nodes_stop_sending_until_they_are_back(
    cluster: Cluster, make_cluster_scenario: MakeClusterScenario
) -> None:
    with make_cluster_scenario(f"two of three nodes killed, back after {DOWN:g} s") as scenario:
        scenario.start_all().load(LOAD, RATE).wait_load(BEGIN)
        leader = cluster.leader(scenario.vhost, QUEUE)
        follower = cluster.followers(scenario.vhost, QUEUE)[0]
        leader.kill()
        follower.kill(settle=False)
        scenario.fired["nodes killed"] += 2
        pass_by(DOWN)
        cluster.start()
        scenario.wait_load()
        scenario.kept(within=180)


def test_rolling_restart_costs_nothing(cluster: Cluster, make_cluster_scenario: MakeClusterScenario) -> None:
    with make_cluster_scenario("rolling restart of all three nodes") as scenario:
        scenario.start_all()
        scenario.load(LOAD, RATE)
        for node in cluster.nodes:
            cluster.roll(node)
            scenario.fired["nodes restarted"] += 1
        scenario.wait_load()
        scenario.kept(within=120)


def test_frozen_leader_stops_sending_for_an_election_only(
    cluster: Cluster, make_cluster_scenario: MakeClusterScenario
) -> None:
    with make_cluster_scenario(f"leader frozen for {FROZEN:g} s") as scenario:
        scenario.start_all()
        leader = lead_beside_workers(cluster, scenario)
        scenario.load(LOAD, RATE)
        scenario.wait_load(BEGIN)
        with leader.frozen():
            scenario.fired["nodes frozen"] += 1
            pass_by(FROZEN)
        scenario.wait_load()
        scenario.kept(within=180)
        scenario.assert_stood_still(AT_MOST_FROZEN)


@pytest.mark.parametrize("from_what", list(CUT_OFF))
def test_isolated_leader_stops_sending_for_an_election_only(
    from_what: str, cluster: Cluster, make_cluster_scenario: MakeClusterScenario
) -> None:
    if not network_namespaces.allowed():
        pytest.skip("network namespaces need root, ip(8) and unshare(1)")
    seconds = CUT_OFF[from_what]
    with make_cluster_scenario(
        f"leader cut off from {from_what} for {seconds:g} s, net_ticktime 60"
    ) as scenario:
        scenario.start_all()
        leader = lead_beside_workers(cluster, scenario)
        scenario.load(seconds + 20, RATE / 2)
        pass_by(10)
        cluster.cut_off(leader, from_host=from_what == "everything")
        scenario.fired["nodes cut off"] += 1
        pass_by(seconds)
        cluster.heal(leader)
        scenario.wait_load()
        scenario.kept(within=240)
        scenario.assert_stood_still(AT_MOST_CUT_OFF)


def test_frozen_worker_delays_only_its_own_commands(
    cluster: Cluster, make_cluster_scenario: MakeClusterScenario
) -> None:
    with make_cluster_scenario(f"worker frozen for {FROZEN:g} s, lease 20 s") as scenario:
        scenario.start_all().load(LOAD, RATE).wait_load(BEGIN)
        scenario.workers[0].send_signal(signal.SIGSTOP)
        scenario.fired["workers frozen"] += 1
        pass_by(FROZEN)
        scenario.workers[0].send_signal(signal.SIGCONT)
        scenario.wait_load()
        scenario.kept(within=180)


def test_notification_that_reaches_both_ingests_at_once_is_one_event(
    make_cluster_scenario: MakeClusterScenario,
) -> None:
    ids = [f"both-{number}" for number in range(200)]
    with make_cluster_scenario("200 notifications, each to both ingests at once") as scenario:
        scenario.start_all()
        webhooks = [Webhook(port=port) for port in scenario.ingests]
        answers = post_to_all(webhooks, ids)
        scenario.fired["notifications posted"] = sum(map(len, answers))
        scenario.posted |= set(ids)
        scenario.kept()

        assert answers == [[204] * len(ids)] * len(webhooks)
