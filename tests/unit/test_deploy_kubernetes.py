"""The manifests for Kubernetes: it takes them, and they name what there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.bootstrap import parts
from bridge.settings import Settings

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
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


def test_workers_scale_by_the_queue_that_they_consume() -> None:
    scaled, authentication = documents(KUBERNETES / "keda" / "scaling.yaml")
    (trigger,) = scaled["spec"]["triggers"]
    (secret,) = authentication["spec"]["secretTargetRef"]
    target = scaled["spec"]["scaleTargetRef"]["name"]
    (mounted,) = (one["secret"] for one in pods()[target]["spec"]["volumes"] if "secret" in one)

    assert (scaled["kind"], authentication["kind"]) == ("ScaledObject", "TriggerAuthentication")
    assert trigger["metadata"]["queueName"] == parts.topology(Settings()).command_queue
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    assert secret["name"] == mounted["secretName"]
    assert secret["key"] in {item["key"] for item in mounted["items"]}
    assert 1 < scaled["spec"]["minReplicaCount"] < scaled["spec"]["maxReplicaCount"]


def test_what_scales_leaves_the_number_of_workers_to_keda() -> None:
    (overlay,) = documents(KUBERNETES / "keda" / "kustomization.yaml")
    scaled, _ = documents(KUBERNETES / "keda" / "scaling.yaml")
    (patch,) = overlay["patches"]

    assert all((KUBERNETES / "keda" / name).exists() for name in overlay["resources"])
    assert patch["target"] == {"kind": "Deployment", "name": scaled["spec"]["scaleTargetRef"]["name"]}
    assert yaml.safe_load(patch["patch"]) == [{"op": "remove", "path": "/spec/replicas"}]
