"""Image and compose file: valid for their tools, started services, and no secrets."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from bridge.app.required import require
from bridge.ops.supervisor import MARGIN
from bridge.settings import Settings, load
from bridge.settings.load import CONFIG_VARIABLE

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = DEPLOY / "container" / "Containerfile"
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text(encoding="utf-8"))
CLUSTER = yaml.safe_load((DEPLOY / "compose" / "cluster.yaml").read_text(encoding="utf-8"))
OURS = {name: one for name, one in COMPOSE["services"].items() if one["image"].startswith("sms-bridge")}

services = pytest.mark.parametrize("service", OURS.values(), ids=OURS)


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of the tests' environment."""
    program = Path(sys.executable).with_name(command[0])
    return subprocess.run(
        [program, *command[1:]], capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )


# -- the image -------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", "").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word]


def final_stage() -> dict[str, str]:
    every = instructions()
    last = max(number for number, (word, _) in enumerate(every) if word == "FROM")
    return dict(every[last:])


def test_hadolint_accepts_the_image() -> None:
    linted = tool("hadolint", "--failure-threshold", "style", str(CONTAINERFILE))

    assert (linted.returncode, linted.stdout) == (0, "")


def test_image_runs_as_an_unprivileged_user() -> None:
    stage = final_stage()
    user, _, group = stage["USER"].partition(":")

    assert int(user) == int(group) == 10001
    assert stage["ENTRYPOINT"] == '["bridge"]'
    assert [word for word, _ in instructions()].count("FROM") == 2


def test_build_context_has_the_copied_files_and_no_secret() -> None:
    let_in = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line[:1] == "!"
    }
    copied = {
        name
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for name in rest.split()[:-1]
    }

    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
    assert not [word for word, rest in instructions() if re.search(r"secret|password|BRIDGE_", rest, re.I)]


# -- compose ---------------------------------------------------------------------------------------


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Return the directory of secrets that the script makes."""
    made = subprocess.run(
        [DEPLOY / "compose" / "make-secrets", tmp_path / "secrets"], input="the project's\n", text=True, timeout=10,
        check=True, capture_output=True,
    )  # fmt: skip

    assert made.stdout == ""

    return tmp_path / "secrets"


def settings_of(service: dict[str, Any], secrets: Path) -> Settings:
    """Load settings as a service does, from its mounts."""
    files = {f"/run/secrets/{name}": COMPOSE["secrets"][name]["file"] for name in service["secrets"]}

    def read_file(name: str) -> str:
        if name not in files:
            raise FileNotFoundError(2, "No such file or directory")
        return (secrets / Path(files[name]).name).read_text(encoding="utf-8")

    (mounted,) = (one.split(":") for one in service["volumes"] if one.startswith("./"))
    config = (DEPLOY / "compose" / mounted[0]).read_text(encoding="utf-8")
    return load(tomllib.loads(config), service["environment"], read_file)


@services
def test_service_starts_with_its_secrets_and_nothing_else(service: dict[str, Any], secrets: Path) -> None:
    settings = settings_of(service, secrets)

    require(settings, broker=True, account=True)

    assert settings.ledger.url.get_secret_value().startswith("postgresql+psycopg://")
    # Not `configs`, which podman-compose ignores.
    assert f"./bridge.toml:{service['environment'][CONFIG_VARIABLE]}:ro" in service["volumes"]
    assert "configs" not in {*COMPOSE, *service}


@services
def test_service_reaches_broker_and_database_with_the_passwords_that_they_have(
    service: dict[str, Any], secrets: Path
) -> None:
    settings = settings_of(service, secrets)
    urls = (*(settings.broker.url or ()), settings.ledger.url)
    broker, ledger = (urlsplit(url.get_secret_value()) for url in urls)
    of_broker = dict(
        re.findall(r"^(\w+) = (.+)$", (secrets / "rabbitmq.conf").read_text(encoding="utf-8"), re.MULTILINE)
    )
    database = COMPOSE["services"][ledger.hostname]

    assert broker.hostname in COMPOSE["services"]
    assert of_broker == {
        "default_user": broker.username, "default_pass": broker.password, "default_vhost": broker.path[1:]
    }  # fmt: skip
    assert database["environment"]["POSTGRES_USER"] == ledger.username
    assert database["environment"]["POSTGRES_DB"] == ledger.path[1:]
    assert (secrets / "postgresql.password").read_text(encoding="utf-8").strip() == ledger.password


@services
def test_service_can_write_only_to_its_spool_and_has_no_extra_permissions(service: dict[str, Any]) -> None:
    spool = service["environment"].get("BRIDGE_INGEST__SPOOL")

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == "10001:10001"
    assert [one for one in service["volumes"] if not one.endswith(":ro")] == (
        [] if spool is None else [f"spool:{spool}"]
    )


@services
def test_service_is_given_longer_to_stop_than_the_grace_period(service: dict[str, Any]) -> None:
    assert float(service["stop_grace_period"].removesuffix("s")) > Settings().worker.grace_period + MARGIN


@services
def test_metrics_are_reached_by_the_other_containers(service: dict[str, Any]) -> None:
    environment = service["environment"]

    assert environment["BRIDGE_ADMIN__HOST"] == "0.0.0.0"  # noqa: S104 - inside the container
    assert service["expose"] == [environment["BRIDGE_ADMIN__PORT"]]


@pytest.mark.parametrize("file", [COMPOSE, CLUSTER], ids=["compose.yaml", "cluster.yaml"])
def test_no_container_keeps_more_than_50_mb_of_log(file: dict[str, Any]) -> None:
    logging = {name: service.get("logging") for name, service in file["services"].items()}
    bounded = {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}}

    assert logging == dict.fromkeys(file["services"], bounded)


def test_everything_that_a_service_names_exists(secrets: Path) -> None:
    used = {
        one if isinstance(one, str) else one["source"]
        for service in COMPOSE["services"].values()
        for one in service.get("secrets", [])
    }
    volumes = {
        one.split(":")[0]
        for service in COMPOSE["services"].values()
        for one in service.get("volumes", [])
        if not one.startswith("./")
    }

    assert used == set(COMPOSE["secrets"])
    assert volumes == set(COMPOSE["volumes"])
    named = (*COMPOSE["secrets"].values(), *CLUSTER["secrets"].values())
    assert {Path(one["file"]).name for one in named} == {file.name for file in secrets.iterdir()}


def make_again(secrets: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DEPLOY / "compose" / "make-secrets", secrets], input="x\n", text=True, capture_output=True, timeout=10,
        check=False,
    )  # fmt: skip


def texts(secrets: Path) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in secrets.iterdir()}


def test_secrets_are_created_once_and_readable_by_the_owner_only(secrets: Path) -> None:
    before = texts(secrets)
    again = make_again(secrets)

    assert (again.returncode, again.stdout) == (0, "")
    assert "has all secrets" in again.stderr
    assert texts(secrets) == before
    assert secrets.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "missing", ["broker.url.cluster", "broker.url", "rabbitmq.conf", "postgresql.password", "ledger.url"]
)
def test_missing_secret_is_derived_from_the_existing_password(secrets: Path, missing: str) -> None:
    before = texts(secrets)
    (secrets / missing).unlink()
    (secrets / "erlang.cookie").unlink()
    again = make_again(secrets)
    after = texts(secrets)

    assert again.returncode == 0
    assert set(again.stderr.partition(":")[2].split()) == {missing, "erlang.cookie"}
    assert after.pop("erlang.cookie") != before.pop("erlang.cookie")
    assert after == before


def test_custom_broker_url_is_not_changed(secrets: Path) -> None:
    (secrets / "broker.url").write_text("amqps://bridge:secret@broker.example/sms", encoding="utf-8")
    for name in ("rabbitmq.conf", "broker.url.cluster"):
        (secrets / name).unlink()
    again = make_again(secrets)

    assert again.returncode == 1
    assert "write broker.url.cluster and rabbitmq.conf yourself" in again.stderr
    assert "secret@" not in again.stderr


def test_compose_publishes_ports_on_the_loopback_only() -> None:
    published = [port for one in COMPOSE["services"].values() for port in one.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


# -- three nodes -----------------------------------------------------------------------------------


def test_nodes_of_the_cluster_are_those_of_its_configuration_and_of_the_url(secrets: Path) -> None:
    nodes = CLUSTER["services"]
    file = Path(CLUSTER["secrets"]["broker.url"]["file"]).name
    variables = {"BRIDGE_BROKER__URL_FILE": file}
    settings = load({}, variables, lambda name: (secrets / name).read_text(encoding="utf-8"))
    urls = [urlsplit(url.get_secret_value()) for url in settings.broker.url or ()]
    password = re.search(r"^default_pass = (.+)$", (secrets / "rabbitmq.conf").read_text(), re.MULTILINE)
    formed = re.findall(
        r"^cluster_formation\.classic_config\.nodes\.\d = rabbit@(.+)$",
        (DEPLOY / "compose" / "cluster.conf").read_text(encoding="utf-8"),
        re.MULTILINE,
    )

    assert password is not None
    assert [url.hostname for url in urls] == list(nodes) == formed
    assert {(url.username, url.password, url.path) for url in urls} == {("sms-bridge", password[1], "/sms")}
    assert [node["hostname"] for node in nodes.values()] == list(nodes)


def test_each_node_keeps_its_own_data_and_has_the_cluster_s_configuration() -> None:
    mounts = [node["volumes"] for node in CLUSTER["services"].values()]

    assert [mounted[0] for mounted in mounts] == [f"{name}:/var/lib/rabbitmq" for name in CLUSTER["services"]]
    assert {*COMPOSE["volumes"], *CLUSTER["volumes"]} >= set(CLUSTER["services"])
    for source, _, mode in (file.split(":") for mounted in mounts for file in mounted[1:]):
        assert (DEPLOY / "compose" / source).is_file()
        assert mode == "ro"
    assert {str(node["secrets"]) for node in CLUSTER["services"].values()} == {
        str([{"source": "rabbitmq", "target": "/etc/rabbitmq/conf.d/20-sms-bridge.conf"}, "erlang.cookie"])
    }


def test_cluster_has_the_same_advanced_settings_wherever_it_runs() -> None:
    page = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    manifest = yaml.safe_load((DEPLOY / "kubernetes-cluster" / "rabbitmq.yaml").read_text(encoding="utf-8"))
    compose = (DEPLOY / "compose" / "advanced.config").read_text(encoding="utf-8")
    terms = [
        "".join(text.split())
        for text in (
            manifest["spec"]["rabbitmq"]["advancedConfig"],
            re.sub(r"^%.*\n", "", compose, flags=re.MULTILINE),
            re.findall(r"```erlang\n(.*?)```", page, re.DOTALL)[0],
        )
    ]

    assert terms[0] == terms[1] == terms[2]
