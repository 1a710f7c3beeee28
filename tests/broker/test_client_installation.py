"""`sms-bridge` without an extra is the client: it installs little and sends, and `bridge` names the missing extra."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.broker.client_setup import prepare
from tests.harness.processes import clean_environment
from tests.harness.wheel import build_wheel, install_alone

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.broker_client import BrokerClient

pytestmark = pytest.mark.broker

URL = "amqp://guest:guest@localhost:5672/%2f"
#: Bytes; 8 MB in all, of which five are the bridge's own.
MOST = 15_000_000
LIST = """\
import json
from importlib.metadata import distributions
print(json.dumps({one.name: sum(file.size or 0 for file in one.files) for one in distributions()}))
"""
SEND = f"""\
from bridge.client import Client
with Client("{URL}") as sms:
    sms.send(to="+16131234567", message="Your code is 123456", id="order-4711")
"""
#: A number that only the library knows the length of, and a national one: neither needs the library here.
NUMBERS = f"""\
from bridge.client import Client, Command, Options
import bridge.client.aio
with Client("{URL}", Options(default_region="DE")) as sms:
    sms.send_many(Command(to=to, message="Hello", id=to) for to in ("+4930123456", "030123456"))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment with the wheel and nothing that an extra brings."""
    directory = tmp_path_factory.mktemp("client")
    return install_alone(build_wheel(directory), directory / "venv")


def run(*command: str | Path, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a program where no clone is at hand."""
    return subprocess.run(
        command,
        cwd=directory,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_installation_has_four_packages_and_a_few_megabytes(python: Path, tmp_path: Path) -> None:
    done = run(python, "-c", LIST, directory=tmp_path)
    sizes = json.loads(done.stdout)

    # Where the system has no time zones kombu brings them, and it may bring `packaging`.
    assert {"amqp", "kombu", "sms-bridge", "vine"} <= sizes.keys()
    assert sizes.keys() <= {"amqp", "kombu", "sms-bridge", "vine", "tzdata", "packaging"}
    assert sum(sizes.values()) < MOST


def test_client_without_extras_sends(python: Path, amqp: BrokerClient, tmp_path: Path) -> None:
    prepare(amqp)
    done = [
        run(python, "-c", program.replace(URL, amqp.url), directory=tmp_path) for program in (SEND, NUMBERS)
    ]
    ids = [message.json["id"] for message in amqp.take("sms.send", 3)]

    assert [(one.returncode, one.stderr) for one in done] == [(0, "")] * 2
    assert ids == ["order-4711", "+4930123456", "030123456"]


def test_the_command_names_the_extra_that_is_missing(python: Path, tmp_path: Path) -> None:
    done = run(python.with_name("bridge"), "worker", directory=tmp_path)

    assert done.returncode == 78
    assert "pip install 'sms-bridge[server]'" in done.stderr
    assert "sqlalchemy" in done.stderr
    assert "Traceback" not in done.stderr
