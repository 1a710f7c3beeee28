"""What the cluster's scenarios share: three nodes for all of them, and a rig for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from tests import namespaces
from tests.cluster_harness import Cluster
from tests.conftest import or_skip
from tests.faults.cluster.rig import ClusterRig
from tests.faults.conftest import CLUSTER, REPORTS
from tests.rabbitmq_programs import BrokerMissing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class MakeClusterRig(Protocol):
    """How a scenario gets its rig."""

    def __call__(self, name: str, **arguments: str) -> ClusterRig: ...


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Run three nodes from the first test that asks for them to the end, each in a namespace where that is allowed."""
    cluster = or_skip(lambda: Cluster(partitions=namespaces.allowed()), BrokerMissing)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def make_cluster_rig(
    cluster: Cluster, tmp_path: Path, postgresql_url: str, request: pytest.FixtureRequest
) -> MakeClusterRig:
    """Make the rig of a scenario, with a ledger on PostgreSQL unless the scenario has its own."""
    report = request.config.stash[REPORTS][CLUSTER]

    def make(name: str, *, ledger: str = postgresql_url, **settings: str) -> ClusterRig:
        cluster.restore()
        return ClusterRig(name, cluster, tmp_path, report, ledger=ledger, **settings)

    return make
