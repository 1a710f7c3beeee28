"""The files in `deploy/`: valid for their tools, with settings that the bridge has."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.app.ingest import GRACE
from bridge.ops.progress import TIMEOUT
from bridge.ops.supervisor import MARGIN
from bridge.settings import Settings, load
from bridge.settings.load import CONFIG_VARIABLE, variable
from bridge.settings.model import KEYS
from tests.harness.missing_program import missing_program

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
CONFIG = (DEPLOY / "kubernetes" / "bridge.toml").read_text(encoding="utf-8")

#: The limit of `systemd-analyze security`, in tenths; 100 is a unit without any hardening. The rest is the network.
EXPOSURE = 16

CREDENTIALS = {
    "broker.url": "amqp://bridge:secret@rabbit/sms\n",
    "ledger.url": "postgresql+psycopg://bridge:secret@db/sms\n",
    "cpaas.client_secret": "secret\n",
    "ingest.authorization": "secret\n",
}

by_name = pytest.mark.parametrize("file", [*UNITS, *MANIFESTS], ids=lambda file: file.name)
units = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)


def settings_with(environ: dict[str, str], credentials: list[str]) -> Settings:
    """Load settings as the process does: configuration file, environment and credentials."""

    def read_file(name: str) -> str:
        directory, _, credential = name.rpartition("/")
        if directory != environ["CREDENTIALS_DIRECTORY"] or credential not in credentials:
            raise FileNotFoundError(2, "No such file or directory")
        return CREDENTIALS[credential]

    return load(tomllib.loads(CONFIG), environ, read_file)


def of_unit(unit: Path, key: str) -> list[str]:
    """Return every value of a key."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)


def documents(kind: str) -> list[dict[str, Any]]:
    found = [one for file in MANIFESTS for one in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    return [one for one in found if one["kind"] == kind]


WORKLOADS = [*documents("Deployment"), *documents("StatefulSet")]
deployments = pytest.mark.parametrize("deployment", WORKLOADS, ids=lambda one: one["metadata"]["name"])


@by_name
def test_every_variable_that_is_set_exists(file: Path) -> None:
    known = {variable(section, key) for section, keys in KEYS.items() for key in keys} | {CONFIG_VARIABLE}

    assert set(re.findall(r"BRIDGE_[A-Z_]+", file.read_text(encoding="utf-8"))) <= known


@units
def test_systemd_accepts_the_unit_without_warnings(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        missing_program("systemd-analyze")
    bridge = str(Path(sys.executable).with_name("bridge"))
    installed = tmp_path / unit.name
    installed.write_text(
        unit.read_text(encoding="utf-8").replace("/opt/sms-bridge/current/bin/bridge", bridge),
        encoding="utf-8",
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", installed],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@units
def test_systemd_rates_the_unit_as_hardened(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        missing_program("systemd-analyze")
    # An instance, as a template has no permissions to check.
    installed = tmp_path / unit.name.replace("@.", "@1.")
    installed.write_bytes(unit.read_bytes())
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", f"--threshold={EXPOSURE}", "--no-pager", installed],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout


@units
def test_unit_starts_with_its_credentials_and_nothing_else(unit: Path) -> None:
    environ = dict(
        line.replace("%i", "1").replace("%S", "/var/lib").split("=", 1)
        for line in of_unit(unit, "Environment")
    )
    credentials = [line.split(":")[0] for line in of_unit(unit, "LoadCredential")]
    settings = settings_with({**environ, "CREDENTIALS_DIRECTORY": "/run/credentials"}, credentials)

    assert settings.broker.url is not None
    assert settings.cpaas.configured


@units
def test_unit_is_given_longer_to_stop_than_the_grace_period(unit: Path) -> None:
    assert float(of_unit(unit, "TimeoutStopSec")[0]) > Settings().worker.grace_period + MARGIN


@units
def test_watchdog_timeout_is_longer_than_the_detection_of_a_stalled_process(unit: Path) -> None:
    assert float(of_unit(unit, "WatchdogSec")[0]) > 2 * TIMEOUT


@units
def test_unit_without_its_configuration_or_a_credential_stays_stopped(unit: Path) -> None:
    [statuses] = of_unit(unit, "RestartPreventExitStatus")

    # EX_CONFIG, and the exit code of systemd when LoadCredential= finds no file (systemd.exec(5)).
    assert {"78", "243"} <= set(statuses.split())


@units
def test_unit_writes_no_core_with_secrets_in_it(unit: Path) -> None:
    assert of_unit(unit, "LimitCORE") == ["0"]


@deployments
def test_pod_is_restarted_when_systemd_would_and_no_sooner(deployment: dict[str, Any]) -> None:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    probe = container["livenessProbe"]
    until_restart = TIMEOUT + probe["periodSeconds"] * probe["failureThreshold"]

    assert {until_restart} == {float(of_unit(unit, "WatchdogSec")[0]) for unit in UNITS}
    # A supervisor gives each of its processes a second.
    assert probe["timeoutSeconds"] > 1


def test_units_of_one_machine_listen_on_distinct_ports() -> None:
    ports = [
        line.partition("=")[2].replace("%i", instance)
        for unit in UNITS
        for instance in (["1", "2"] if "@" in unit.name else ["-"])
        for line in of_unit(unit, "Environment")
        if line.startswith("BRIDGE_ADMIN__PORT=")
    ]

    assert len(ports) == len(set(ports)) == 3


@deployments
def test_pod_starts_with_its_credentials_and_nothing_else(deployment: dict[str, Any]) -> None:
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    environ = {one["name"]: one["value"] for one in container["env"]}
    [secret] = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    settings = settings_with(environ, [item["path"] for item in secret["items"]])
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}

    assert settings.cpaas.configured
    assert settings.ledger.url.get_secret_value().startswith("postgresql+psycopg://")
    assert environ["CREDENTIALS_DIRECTORY"] in mounted
    assert str(Path(environ[CONFIG_VARIABLE]).parent) in mounted


@deployments
def test_probes_of_a_pod_use_its_health_endpoints(deployment: dict[str, Any]) -> None:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    environ = {one["name"]: one["value"] for one in container["env"]}
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    probes = [container[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")]

    assert probes == [{"path": "/livez", "port": "admin"}, {"path": "/readyz", "port": "admin"}]
    assert ports.pop("admin") == environ["BRIDGE_ADMIN__PORT"]
    assert environ["BRIDGE_ADMIN__HOST"] == "0.0.0.0"  # noqa: S104 - of the pod
    assert list(ports.values()) == [environ[name] for name in environ if name == "BRIDGE_INGEST__PORT"]


@deployments
def test_pod_is_given_longer_to_stop_than_the_grace_period(deployment: dict[str, Any]) -> None:
    pod = deployment["spec"]["template"]["spec"]

    assert pod["terminationGracePeriodSeconds"] > Settings().worker.grace_period + MARGIN


@deployments
def test_kubernetes_adds_no_variable_with_the_prefix_of_the_bridge(deployment: dict[str, Any]) -> None:
    assert deployment["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_disruption_budgets_selectors_and_services_match_the_deployments() -> None:
    labels = {one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"] for one in WORKLOADS}
    [service] = documents("Service")

    assert service["spec"]["selector"] == labels[service["metadata"]["name"]]
    for budget in documents("PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"] == labels[budget["metadata"]["name"]]


def test_kustomization_lists_every_manifest() -> None:
    [kustomization] = documents("Kustomization")
    others = {file.name for file in MANIFESTS} - {"kustomization.yaml"}

    assert set(kustomization["resources"]) == others
    assert kustomization["configMapGenerator"][0]["files"] == ["bridge.toml"]


def test_ingest_listens_until_its_service_has_removed_it() -> None:
    (ingest,) = documents("StatefulSet")
    pod = ingest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    _, seconds = container["lifecycle"]["preStop"]["exec"]["command"]

    assert 0 < float(seconds) < pod["terminationGracePeriodSeconds"] - GRACE


def test_spool_outlives_the_ingest() -> None:
    (ingest,) = documents("StatefulSet")
    (container,) = ingest["spec"]["template"]["spec"]["containers"]
    (spool,) = (one["value"] for one in container["env"] if one["name"] == "BRIDGE_INGEST__SPOOL")
    claims = {claim["metadata"]["name"] for claim in ingest["spec"]["volumeClaimTemplates"]}
    kept = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] in claims]
    (unit,) = (unit for unit in UNITS if "ingest" in unit.name)

    assert str(Path(spool).parent) in kept
    assert "BRIDGE_INGEST__SPOOL=%S/sms-bridge/spool" in of_unit(unit, "Environment")
    assert "sms-bridge/spool" in of_unit(unit, "StateDirectory")[0].split()
