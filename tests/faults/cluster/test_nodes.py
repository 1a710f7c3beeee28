"""Nodes of a cluster that are killed, restarted, frozen and cut off under load; a worker that is frozen."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests import namespaces
from tests.flood import post_to_all
from tests.waiting import wait_until
from tests.webhook import Webhook

if TYPE_CHECKING:
    from tests.broker_harness import Broker
    from tests.cluster_harness import Cluster
    from tests.faults.cluster.conftest import MakeClusterRig
    from tests.faults.cluster.rig import ClusterRig

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
#: Seconds that sending may stand still for a node that is frozen or cut off: an election, and a new connection.
AT_MOST_FROZEN = 12.0
AT_MOST_CUT_OFF = 15.0


def pass_by(seconds: float) -> None:
    """Let so many seconds pass under load."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, seconds + 30, every=0.1)


def lead_beside_workers(cluster: Cluster, rig: ClusterRig) -> Broker:
    """Have a node lead the command queue that at most one of three workers consumes from, and return it.

    Workers choose their nodes at random. Those on a node that is frozen or cut off wait for `net_ticktime`, as
    docs/cluster.md says; the scenarios are about the others.
    """
    consumers = cluster.consumers(rig.vhost, QUEUE)
    leader = min(cluster.nodes, key=lambda node: (consumers[node] != 1, consumers[node]))
    cluster.lead(rig.vhost, QUEUE, leader)
    return leader


@pytest.mark.parametrize("which", ["leader", "follower"])
def test_a_killed_node_costs_nothing(which: str, cluster: Cluster, make_cluster_rig: MakeClusterRig) -> None:
    with make_cluster_rig(f"{which} killed, back after {DOWN:g} s") as rig:
        rig.start_all()
        rig.load(LOAD, RATE)
        rig.wait_load(BEGIN)
        leader, followers = cluster.leader(rig.vhost, QUEUE), cluster.followers(rig.vhost, QUEUE)
        node = leader if which == "leader" else followers[0]
        node.kill()
        rig.fired["nodes killed"] += 1
        pass_by(DOWN)
        cluster.start()
        rig.wait_load()
        rig.kept(within=120)


def test_two_killed_nodes_stop_sending_until_they_are_back(
    cluster: Cluster, make_cluster_rig: MakeClusterRig
) -> None:
    with make_cluster_rig(f"two of three nodes killed, back after {DOWN:g} s") as rig:
        rig.start_all()
        rig.load(LOAD, RATE)
        rig.wait_load(BEGIN)
        leader = cluster.leader(rig.vhost, QUEUE)
        follower = cluster.followers(rig.vhost, QUEUE)[0]
        leader.kill()
        follower.kill(settle=False)
        rig.fired["nodes killed"] += 2
        pass_by(DOWN)
        cluster.start()
        rig.wait_load()
        rig.kept(within=180)


def test_a_rolling_restart_costs_nothing(cluster: Cluster, make_cluster_rig: MakeClusterRig) -> None:
    with make_cluster_rig("rolling restart of all three nodes") as rig:
        rig.start_all()
        rig.load(LOAD, RATE)
        for node in cluster.nodes:
            cluster.roll(node)
            rig.fired["nodes restarted"] += 1
        rig.wait_load()
        rig.kept(within=120)


def test_a_frozen_leader_stops_sending_for_an_election_alone(
    cluster: Cluster, make_cluster_rig: MakeClusterRig
) -> None:
    with make_cluster_rig(f"leader frozen for {FROZEN:g} s") as rig:
        rig.start_all()
        leader = lead_beside_workers(cluster, rig)
        rig.load(LOAD, RATE)
        rig.wait_load(BEGIN)
        with leader.frozen():
            rig.fired["nodes frozen"] += 1
            pass_by(FROZEN)
        rig.wait_load()
        rig.kept(within=180)
        rig.assert_stood_still(AT_MOST_FROZEN)


@pytest.mark.parametrize("from_what", list(CUT_OFF))
def test_a_leader_that_is_cut_off_stops_sending_for_an_election_alone(
    from_what: str, cluster: Cluster, make_cluster_rig: MakeClusterRig
) -> None:
    if not namespaces.allowed():
        pytest.skip("network namespaces need root, ip(8) and unshare(1)")
    seconds = CUT_OFF[from_what]
    with make_cluster_rig(f"leader cut off from {from_what} for {seconds:g} s, net_ticktime 60") as rig:
        rig.start_all()
        leader = lead_beside_workers(cluster, rig)
        rig.load(seconds + 20, RATE / 2)
        pass_by(10)
        cluster.cut_off(leader, from_host=from_what == "everything")
        rig.fired["nodes cut off"] += 1
        pass_by(seconds)
        cluster.heal(leader)
        rig.wait_load()
        rig.kept(within=240)
        rig.assert_stood_still(AT_MOST_CUT_OFF)


def test_a_frozen_worker_costs_what_it_holds_its_time_alone(
    cluster: Cluster, make_cluster_rig: MakeClusterRig
) -> None:
    with make_cluster_rig(f"worker frozen for {FROZEN:g} s, lease 20 s") as rig:
        rig.start_all()
        rig.load(LOAD, RATE)
        rig.wait_load(BEGIN)
        rig.workers[0].send_signal(signal.SIGSTOP)
        rig.fired["workers frozen"] += 1
        pass_by(FROZEN)
        rig.workers[0].send_signal(signal.SIGCONT)
        rig.wait_load()
        rig.kept(within=180)


def test_a_notification_that_reaches_both_ingests_at_once_is_one_event(
    make_cluster_rig: MakeClusterRig,
) -> None:
    ids = [f"both-{number}" for number in range(200)]
    with make_cluster_rig("200 notifications, each to both ingests at once") as rig:
        rig.start_all()
        webhooks = [Webhook(port=port) for port in rig.ingests]
        answers = post_to_all(webhooks, ids)
        rig.fired["notifications posted"] = sum(map(len, answers))
        rig.posted |= set(ids)
        rig.kept()

        assert answers == [[204] * len(ids)] * len(webhooks)
