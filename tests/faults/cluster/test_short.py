"""The cluster's scenario that `make test` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.cluster.test_nodes import QUEUE

if TYPE_CHECKING:
    from tests.cluster_harness import Cluster
    from tests.faults.cluster.conftest import MakeClusterRig

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]


def test_the_death_of_the_leaders_node_costs_no_command_and_no_webhook(
    cluster: Cluster, make_cluster_rig: MakeClusterRig
) -> None:
    with make_cluster_rig("leader killed, 200 commands", RECONCILE__SETTLE="2.5") as rig:
        rig.start_all()
        rig.load(8, 25, scheduled=0)
        rig.wait_load(0.25)
        cluster.leader(rig.vhost, QUEUE).kill()
        rig.fired["nodes killed"] += 1
        rig.resumes()
        # What one level of the delay was handing on waits for the dead node (docs/reliability.md).
        cluster.start()
        verdict = rig.kept(within=60)

        assert verdict.outcomes == {"sent": 200}
