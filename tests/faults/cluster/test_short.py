"""The cluster's scenario that `make test` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.cluster.test_nodes import QUEUE

if TYPE_CHECKING:
    from tests.faults.cluster.conftest import MakeClusterScenario
    from tests.harness.cluster import Cluster

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]


def test_crash_of_the_leaders_node_loses_no_command_and_no_webhook(
    cluster: Cluster, make_cluster_scenario: MakeClusterScenario
) -> None:
    with make_cluster_scenario("leader killed, 200 commands", RECONCILE__SETTLE="2.5") as scenario:
        scenario.start_all()
        scenario.load(8, 25, scheduled=0)
        scenario.wait_load(0.25)
        cluster.leader(scenario.vhost, QUEUE).kill()
        scenario.fired["nodes killed"] += 1
        scenario.resumes()
        # A copy between two delay queues waits for the dead node (docs/internals/reliability.md).
        cluster.start()
        verdict = scenario.kept(within=60)

        assert verdict.outcomes == {"sent": 200}
