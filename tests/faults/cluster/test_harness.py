"""The suite's own cluster: one view, leaders that move, nodes that are cut off, and gone afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import or_skip
from tests.harness import network_namespaces
from tests.harness.broker_client import BrokerClient
from tests.harness.cluster import Cluster
from tests.harness.rabbitmq_programs import BrokerMissing
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.broker, pytest.mark.cluster]

NO_NAMESPACES = "network namespaces need root, ip(8) and unshare(1)"
QUORUM = {"x-queue-type": "quorum"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = or_skip(lambda: Cluster(partitions=network_namespaces.allowed(), net_ticktime=8), BrokerMissing)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def test_queue_has_a_member_on_each_node_and_its_leader_can_be_moved(cluster: Cluster) -> None:
    vhost = cluster.new_vhost()
    with BrokerClient(cluster.nodes[1].url(vhost)) as peer:
        peer.declare_queue("q", QUORUM)

        assert set(cluster.members(vhost, "q")) == set(cluster.nodes)
        assert cluster.leader(vhost, "q") is cluster.nodes[1]
        cluster.lead(vhost, "q", cluster.nodes[2])
        assert cluster.leader(vhost, "q") is cluster.nodes[2]
        peer.publish(b"1", exchange="", routing_key="q")
        cluster.nodes[2].kill()
        wait_until(lambda: cluster.leader(vhost, "q") is not cluster.nodes[2], what="a new leader")
        assert [message.body for message in peer.take("q")] == [b"1"]
    cluster.start()
    cluster.roll(cluster.nodes[0])


def test_node_that_is_cut_off_stays_silent_and_pauses(cluster: Cluster) -> None:
    if not network_namespaces.allowed():
        pytest.skip(NO_NAMESPACES)
    vhost = cluster.new_vhost()
    lost, *others = cluster.nodes
    with BrokerClient(others[0].url(vhost)) as peer, BrokerClient(lost.url(vhost)) as other:
        peer.declare_queue("q", QUORUM)
        assert other.exists("q")
        cluster.cut_off(lost)
        wait_until(lambda: len(cluster._seen(others[0])) == 2, what="a cluster of two")
        peer.publish(b"1", exchange="", routing_key="q")
        cluster.heal(lost)
        cluster.wait_whole()

        assert [message.body for message in other.take("q")] == [b"1"]
        cluster.cut_off(lost, from_host=True)
        with pytest.raises(OSError):  # noqa: PT011 - whichever answer is waited for
            other.depth("q")
        cluster.restore()


SCRIPT = """
import sys
from tests.harness.cluster import Cluster
cluster = Cluster(partitions=True)
cluster.start([])
print(cluster._network.interface, flush=True)
sys.stdin.read()
"""


def test_no_interface_is_left_when_the_suite_itself_is_killed() -> None:
    if not network_namespaces.allowed():
        pytest.skip(NO_NAMESPACES)
    suite = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert suite.stdin
    assert suite.stdout
    with suite.stdin, suite.stdout:
        interface = Path("/sys/class/net", suite.stdout.readline().strip())
        there = interface.exists()
        suite.send_signal(signal.SIGKILL)
        suite.wait(timeout=10)

    assert there
    wait_until(lambda: not interface.exists(), what="no interface")
