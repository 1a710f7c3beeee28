"""The README's commands run, and its numbers are those of the measured tables."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.broker.client_setup import Worker, outcome, prepare
from tests.harness.missing_program import missing_program
from tests.harness.processes import clean_environment
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.broker_client import BrokerClient

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
BRIDGE = Path(sys.executable).with_name("bridge")
URL = "amqp://guest:guest@localhost:5672/%2f"


def blocks(language: str, text: str = README) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def run(
    *command: str | Path, cwd: Path, typed: str | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a program as a reader would."""
    return subprocess.run(
        command,
        env=clean_environment(env),
        cwd=cwd,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.broker
@pytest.mark.acceptance
def test_the_lines_of_python_send_and_print_the_outcome(amqp: BrokerClient, tmp_path: Path) -> None:
    (block,) = blocks("python")
    (tmp_path / "send.py").write_text(block.replace(URL, amqp.url))
    prepare(amqp)
    worker = Worker(amqp, [outcome("login-4711")])
    done = run(sys.executable, "send.py", cwd=tmp_path)
    worker.join()

    assert block.count(URL) == 1
    assert (done.stdout, done.stderr) == ("sent\n", "")


@pytest.mark.acceptance
def test_the_four_variables_are_a_valid_configuration(tmp_path: Path) -> None:
    settings, _ = blocks("sh")
    done = run("sh", "-c", f"{settings}\n{BRIDGE} config check", cwd=tmp_path)

    assert settings.count("export BRIDGE_") == 4
    assert (done.stdout, done.stderr) == ("configuration is valid\n", "")


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[int]:
    """Start the demo with the command API as docs/recipes/testing.md does; yield the API's port."""
    (block,) = blocks("console", (DOCS / "recipes" / "testing.md").read_text(encoding="utf-8"))
    port = free_port()
    command = block.removeprefix("$ ").replace("=8081", f"={port}").replace("bridge up", f"exec {BRIDGE} up")
    env = clean_environment({"BRIDGE_INGEST__PORT": str(free_port()), "BRIDGE_ADMIN__PORT": str(free_port())})
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(["sh", "-c", command], env=env, cwd=tmp_path, stdout=log, stderr=log) as process,
    ):
        try:
            yield port
        finally:
            process.terminate()


def shown(port: int) -> tuple[int, Any]:
    """Ask the command API what became of the command of the README."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/v1/messages/login-4711", headers={"Authorization": "Bearer trial"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except ConnectionRefusedError:
        return 0, None
    finally:
        connection.close()


@pytest.mark.acceptance
def test_the_curl_command_sends_an_sms_in_the_demo(demo: int, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        missing_program("curl")
    _, curl = blocks("sh")
    command = curl.replace(":8081/", f":{demo}/").replace("curl ", "curl --silent --fail ", 1)
    wait_until(lambda: shown(demo)[0] == 404, 40, what="the command API")
    wait_until(lambda: run("sh", "-c", command, cwd=tmp_path).returncode == 0, 20, what="202")
    wait_until(lambda: shown(demo)[0] == 200, 20, what="the ledger to know it")
    wait_until(lambda: shown(demo)[1]["submissions"][0]["state"] == "sent", 20, what="the outcome")


def row(page: str, begins: str) -> list[str]:
    """Return the cells of a table's row."""
    text = (DOCS / "internals" / page).read_text(encoding="utf-8")
    (found,) = [line for line in text.splitlines() if line.startswith(f"| {begins} |")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def readme_numbers(begins: str) -> list[float]:
    """Return the numbers in the cells of a row of the README's table."""
    (found,) = [line for line in README.splitlines() if line.startswith(f"| {begins}")]
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", found.split("|", 2)[2])]


def test_the_speeds_are_those_that_were_measured() -> None:
    setting = "150 ms, 256 in flight"
    bridge, celery = (
        row("performance.md", f"{setting} | Bridge"),
        row("performance.md", f"{setting} | Celery"),
    )

    # A new run of the benchmark may differ by so much before the README has to follow.
    assert readme_numbers("SMS per second") == pytest.approx([float(bridge[2]), float(celery[2])], rel=0.25)
    assert readme_numbers("CPU seconds") == pytest.approx([float(bridge[4]), float(celery[4])], rel=0.25)


def test_the_faults_are_those_of_the_fault_suite() -> None:
    measured = row("fault-tables.md", "W2+B1+P3+P4")
    _, _, faults, commands, *_, unknown, twice, lost, _, _, _, _ = measured

    assert (commands, faults) == (
        "2000",
        "40 kills of the worker, 10 kills of the broker, 300 faulty answers",
    )
    assert readme_numbers("2,000 commands") == [float(lost), float(twice), float(unknown)]


def test_every_example_is_linked() -> None:
    pages = [ROOT / "README.md", *DOCS.rglob("*.md")]
    texts = [page.read_text(encoding="utf-8") for page in pages]
    files = [
        path
        for path in (DOCS / "examples").rglob("*")
        if path.is_file() and path.stat().st_size and "__pycache__" not in path.parts
    ]

    assert [path.name for path in files if not any(f"/{path.name})" in text for text in texts)] == []
