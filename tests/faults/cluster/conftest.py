"""Fixtures of the cluster's scenarios: three nodes for all of them, and a scenario for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from tests.conftest import or_skip
from tests.faults.cluster.scenario import ClusterScenario
from tests.faults.conftest import CLUSTER, REPORTS
from tests.harness import network_namespaces
from tests.harness.cluster import Cluster
from tests.harness.rabbitmq_programs import BrokerMissing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class MakeClusterScenario(Protocol):
    """How a test starts a scenario on the cluster."""

    def __call__(self, name: str, **arguments: str) -> ClusterScenario: ...


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Run three nodes from the first test that asks for them to the end, each in a namespace where that is allowed."""
    cluster = or_skip(lambda: Cluster(partitions=network_namespaces.allowed()), BrokerMissing)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def make_cluster_scenario(
    cluster: Cluster, tmp_path: Path, postgresql_url: str, request: pytest.FixtureRequest
) -> MakeClusterScenario:
    """Start a scenario, with a ledger on PostgreSQL unless the test has its own."""
    report = request.config.stash[REPORTS][CLUSTER]

    def make(name: str, *, ledger: str = postgresql_url, **settings: str) -> ClusterScenario:
        cluster.restore()
        return ClusterScenario(name, cluster, tmp_path, report, ledger=ledger, **settings)

    return make
