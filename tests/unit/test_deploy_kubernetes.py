"""The manifests for Kubernetes: it takes them, and they name what there is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.bootstrap import parts
from bridge.settings import Settings

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
KEDA = KUBERNETES.with_name("kubernetes-keda")
#: Those whose kinds Kubernetes itself knows.
NATIVE = sorted(set(KUBERNETES.glob("*.yaml")) - {KUBERNETES / "kustomization.yaml"})


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


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here")
@pytest.mark.parametrize("where", [KUBERNETES, KEDA], ids=["plain", "with KEDA"])
def test_what_is_applied_can_be_built(where: Path) -> None:
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
    assert secret["key"] in {item["key"] for item in mounted["items"]}
    assert 1 < scaled["spec"]["minReplicaCount"] < scaled["spec"]["maxReplicaCount"]


def test_what_scales_leaves_the_number_of_workers_to_keda() -> None:
    (overlay,) = documents(KEDA / "kustomization.yaml")
    scaled, _ = documents(KEDA / "scaling.yaml")
    (patch,) = overlay["patches"]

    resources = [(KEDA / name).resolve() for name in overlay["resources"]]
    assert all(resource.exists() for resource in resources)
    # Kustomize takes no base that the overlay itself lies in.
    assert not any(KEDA.resolve().is_relative_to(resource) for resource in resources)
    assert patch["target"] == {"kind": "Deployment", "name": scaled["spec"]["scaleTargetRef"]["name"]}
    assert yaml.safe_load(patch["patch"]) == [{"op": "remove", "path": "/spec/replicas"}]
