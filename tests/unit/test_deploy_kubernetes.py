"""The manifests for Kubernetes: valid, with references that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.app import parts
from bridge.domain.broker_url import read_broker_urls, split_urls
from bridge.settings import Settings
from tests.harness.missing_program import missing_program

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
KEDA = KUBERNETES.with_name("kubernetes-keda")
MIGRATE = KUBERNETES.with_name("kubernetes-migrate")
MONITORING = KUBERNETES.with_name("kubernetes-monitoring")
CLUSTER = KUBERNETES.with_name("kubernetes-cluster")
INGRESS = KUBERNETES.with_name("kubernetes-ingress") / "ingress.yaml"
ALERTS = KUBERNETES.with_name("prometheus") / "sms-bridge.rules.yaml"
#: The first kubectl whose kustomize patches as these manifests do (docs/install.md).
KUBECTL = (1, 21)
#: Those with kinds of Kubernetes itself.
NATIVE = sorted(
    {*KUBERNETES.glob("*.yaml"), MIGRATE / "job.yaml", CLUSTER / "disruption.yaml", INGRESS}
    - {KUBERNETES / "kustomization.yaml"}
)


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("manifest", NATIVE, ids=lambda one: one.name)
def test_kubernetes_takes_the_manifest(manifest: Path) -> None:
    program = Path(sys.executable).with_name("kubernetes-validate")
    validated = subprocess.run(
        [program, "--strict", "--quiet", manifest], capture_output=True, text=True, timeout=60, check=False
    )

    assert (validated.returncode, validated.stdout) == (0, "")


def pods() -> dict[str, dict[str, Any]]:
    found = [
        one for file in NATIVE for one in documents(file) if one["kind"] in {"Deployment", "StatefulSet"}
    ]
    return {one["metadata"]["name"]: one["spec"]["template"] for one in found}


def keys_of(pod: dict[str, Any]) -> list[dict[str, str]]:
    return [item for one in pod["spec"]["volumes"] if "secret" in one for item in one["secret"]["items"]]


def test_each_pod_is_reached_on_its_own_ports_alone() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in documents(KUBERNETES / "network.yaml")}

    assert set(policies) == set(pods())
    for name, policy in policies.items():
        pod = pods()[name]
        named = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        reached = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}

        assert policy["podSelector"]["matchLabels"] == pod["metadata"]["labels"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert reached == named


def kubectl_version() -> tuple[int, int]:
    """Return the version of kubectl."""
    if shutil.which("kubectl") is None:
        missing_program("kubectl")
    said = subprocess.run(
        ["kubectl", "version", "--client", "--output=json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    version = json.loads(said.stdout)["clientVersion"]
    return int(version["major"]), int(version["minor"].rstrip("+"))


@pytest.mark.parametrize(
    "where", [KUBERNETES, KEDA, MIGRATE, MONITORING, CLUSTER], ids=lambda where: where.name
)
def test_every_kustomization_builds(where: Path) -> None:
    if kubectl_version() < KUBECTL:
        # Debian 12 has no newer one, so continuous integration skips it, too.
        pytest.skip(f"no kubectl of version {KUBECTL[0]}.{KUBECTL[1]} or later here")
    built = subprocess.run(
        ["kubectl", "kustomize", str(where)], capture_output=True, text=True, check=False, timeout=60
    )

    assert built.returncode == 0, built.stderr
    assert ("ScaledObject" in built.stdout) == (where == KEDA)


def test_workers_scale_by_the_queue_that_they_consume_and_by_age() -> None:
    scaled, authentication = documents(KEDA / "scaling.yaml")
    trigger, by_age = scaled["spec"]["triggers"]
    (secret,) = authentication["spec"]["secretTargetRef"]
    target = scaled["spec"]["scaleTargetRef"]["name"]
    (mounted,) = (one["secret"] for one in pods()[target]["spec"]["volumes"] if "secret" in one)

    assert (scaled["kind"], authentication["kind"]) == ("ScaledObject", "TriggerAuthentication")
    assert trigger["metadata"]["queueName"] == parts.topology(Settings()).command_queue
    assert (trigger["type"], by_age["type"], by_age["metricType"]) == ("rabbitmq", "prometheus", "Value")
    assert all(isinstance(value, str) for one in (trigger, by_age) for value in one["metadata"].values())
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    assert secret["name"] == mounted["secretName"]
    # The keys of the processes may be lists of URLs, which KEDA does not read.
    assert secret["key"] not in {item["key"] for pod in pods().values() for item in keys_of(pod)}
    for overlay in (KUBERNETES, KEDA):
        assert f"--from-file={secret['key']}" in (overlay / "kustomization.yaml").read_text(encoding="utf-8")
    assert 1 < scaled["spec"]["minReplicaCount"] < scaled["spec"]["maxReplicaCount"]


def test_on_a_cluster_keda_is_given_one_url_and_the_processes_all_nodes() -> None:
    _, authentication = documents(KEDA / "scaling.yaml")
    (secret,) = authentication["spec"]["secretTargetRef"]
    text = (CLUSTER / "kustomization.yaml").read_text(encoding="utf-8")
    lists = dict(re.findall(r"((?:\w+\.broker\.url[^\n]*)+):\n#   (amqp\S+)", text))
    (for_processes,) = [url for said, url in lists.items() if "worker.broker.url" in said]
    (for_keda,) = [url for said, url in lists.items() if "worker.broker.url" not in said]

    assert len(split_urls(for_processes)) == len(read_broker_urls(split_urls(for_processes))) == 3
    assert len(split_urls(for_keda)) == 1
    assert secret["key"] in text
    (node,) = read_broker_urls([for_keda])
    assert node.host == documents(CLUSTER / "rabbitmq.yaml")[0]["metadata"]["name"]


def test_deployment_with_keda_does_not_set_the_number_of_workers() -> None:
    (overlay,) = documents(KEDA / "kustomization.yaml")
    scaled, _ = documents(KEDA / "scaling.yaml")
    (patch,) = overlay["patches"]

    resources = [(KEDA / name).resolve() for name in overlay["resources"]]
    assert all(resource.exists() for resource in resources)
    # Kustomize accepts no base that contains the overlay.
    assert not any(KEDA.resolve().is_relative_to(resource) for resource in resources)
    assert patch["target"] == {"kind": "Deployment", "name": scaled["spec"]["scaleTargetRef"]["name"]}
    assert yaml.safe_load(patch["patch"]) == [{"op": "remove", "path": "/spec/replicas"}]


@pytest.mark.parametrize("name", sorted(pods()))
def test_pods_are_spread_over_nodes_and_zones(name: str) -> None:
    pod = pods()[name]
    spread = pod["spec"]["topologySpreadConstraints"]

    assert [one["topologyKey"] for one in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    assert all(one["labelSelector"]["matchLabels"] == pod["metadata"]["labels"] for one in spread)


def test_pod_that_is_not_ready_does_not_stop_a_node_from_being_drained() -> None:
    budgets = [
        one["spec"]
        for file in KUBERNETES.glob("*.yaml")
        for one in documents(file)
        if one["kind"] == "PodDisruptionBudget"
    ]

    assert [one["unhealthyPodEvictionPolicy"] for one in budgets] == ["AlwaysAllow"] * len(pods())


def test_every_pod_reaches_dns_also_where_each_node_has_its_own() -> None:
    for policy in documents(KUBERNETES / "network.yaml"):
        (dns,) = [
            rule for rule in policy["spec"]["egress"] if {"protocol": "UDP", "port": 53} in rule["ports"]
        ]

        assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in dns["to"]


def test_load_balancer_outside_the_pod_network_reaches_the_webhook_alone() -> None:
    (policy,) = [
        one
        for one in documents(KUBERNETES / "network.yaml")
        if one["metadata"]["name"] == "sms-bridge-ingest"
    ]
    from_anywhere = [rule["ports"] for rule in policy["spec"]["ingress"] if "from" not in rule]

    assert from_anywhere == [[{"protocol": "TCP", "port": "webhook"}]]


def test_operator_of_prometheus_gets_the_alerts_that_promtool_tests() -> None:
    (rule,) = documents(MONITORING / "prometheusrule.yaml")
    (alerts,) = documents(ALERTS)

    assert rule["kind"] == "PrometheusRule"
    assert rule["spec"] == alerts, "run scripts/write-prometheus-rule"


def test_prometheus_scrapes_every_pod_by_a_port_that_it_has() -> None:
    (monitor,) = documents(MONITORING / "podmonitor.yaml")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    wanted = monitor["spec"]["selector"]["matchLabels"]

    for pod in pods().values():
        assert wanted.items() <= pod["metadata"]["labels"].items()
        assert endpoint["port"] in {port["name"] for port in pod["spec"]["containers"][0]["ports"]}


def test_ingress_leads_from_the_webhook_path_to_the_service() -> None:
    (ingress,) = documents(INGRESS)
    (service,) = [one for file in NATIVE for one in documents(file) if one["kind"] == "Service"]
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    backend = path["backend"]["service"]

    assert (path["path"], path["pathType"]) == (Settings().ingest.path, "Exact")
    assert backend["name"] == service["metadata"]["name"]
    assert backend["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}


def test_migration_runs_the_same_image_with_the_ledger_s_secret_alone() -> None:
    (job,) = documents(MIGRATE / "job.yaml")
    (plain,) = documents(KUBERNETES / "kustomization.yaml")
    (migrate,) = documents(MIGRATE / "kustomization.yaml")
    pod = job["spec"]["template"]["spec"]
    (volume,) = pod["volumes"]

    assert migrate["images"] == plain["images"]
    assert pod["containers"][0]["args"] == ["ledger", "migrate"]
    assert [item["path"] for item in volume["secret"]["items"]] == ["ledger.url"]


def test_no_two_brokers_of_three_are_drained_or_fail_together() -> None:
    (broker,) = documents(CLUSTER / "rabbitmq.yaml")
    (budget,) = documents(CLUSTER / "disruption.yaml")
    (apart,) = broker["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]

    assert (broker["kind"], broker["spec"]["replicas"]) == ("RabbitmqCluster", 3)
    assert budget["spec"]["maxUnavailable"] == 1
    # The operator gives its pods this label.
    assert apart["labelSelector"] == budget["spec"]["selector"]
    assert budget["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] == broker["metadata"]["name"]
