"""What acceptance tests start: a provider to call, a bridge that calls it, and what both did."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest

from bridge.simulator import Simulator
from tests.harness.processes import BridgeProcess
from tests.harness.webhook import Webhook, listening_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.conftest import StartBridge

    StartUnsearched = Callable[..., BridgeProcess]
    Ingest = tuple[BridgeProcess, Webhook]
    StartIngest = Callable[..., Ingest]

#: What no log may hold: every text, secret and password of these tests, whole numbers, tokens.
CANARIES = re.compile(
    r"canary|hunter2|(?<![.\w])1?613[0-9]{7}(?![0-9a-f])|16139998877|eyJ[A-Za-z0-9]{10}", re.IGNORECASE
)


class Provider:
    """The simulator, as a test drives it: over HTTP."""

    def __init__(self, simulator: Simulator) -> None:
        self.url = simulator.url

    def _get(self, path: str) -> Any:
        with urlopen(f"{self.url}/_simulator/{path}", timeout=5) as answer:  # noqa: S310 - always http
            return json.load(answer)

    def journal(self) -> list[dict[str, Any]]:
        """Return every send that was accepted."""
        accepted: list[dict[str, Any]] = self._get("journal")
        return accepted

    def texts(self) -> list[str]:
        """Return the texts of every send that was accepted."""
        return [sent["message"] for sent in self.journal()]

    def stats(self) -> dict[str, Any]:
        """Return what the simulator counted."""
        counted: dict[str, Any] = self._get("stats")
        return counted

    def calls(self) -> list[dict[str, Any]]:
        """Return the calls that were made, when and how they were answered."""
        made: list[dict[str, Any]] = self._get("calls")
        return made

    def post(self, path: str, document: object) -> None:
        """Post to one of the simulator's own endpoints."""
        body = json.dumps(document).encode()
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.url}/_simulator/{path}", data=body, headers=headers)  # noqa: S310 - always http
        urlopen(request, timeout=5).close()  # noqa: S310 - likewise

    def faults(self, *faults: object) -> None:
        """Have the next sends go wrong, one fault each."""
        self.post("faults", list(faults))

    def settings(self, **changes: object) -> None:
        """Have the provider behave otherwise from now on."""
        self.post("settings", changes)


def environment(vhost_url: str, provider_url: str, directory: Path) -> dict[str, str]:
    """Return the configuration of a bridge on a broker and a provider, with its ledger in `directory`."""
    return {
        "BRIDGE_BROKER__URL": vhost_url,
        "BRIDGE_CPAAS__BASE_URL": provider_url,
        "BRIDGE_CPAAS__CLIENT_ID": "project",
        "BRIDGE_CPAAS__CLIENT_SECRET": "hunter2-secret",
        "BRIDGE_CPAAS__CONNECT_TIMEOUT": "1",
        "BRIDGE_CPAAS__READ_TIMEOUT": "2",
        "BRIDGE_LEDGER__URL": f"sqlite:///{directory}/ledger.sqlite3",
        "BRIDGE_WORKER__LEASE": "10",
        "BRIDGE_RETRY__IN_PROCESS": "0.5",
        "BRIDGE_BROKER__HEARTBEAT": "5",
        # The provider here shows at once what it has accepted.
        "BRIDGE_RECONCILE__SETTLE": "1",
    }


def assert_silent(process: BridgeProcess) -> None:
    """Check that the process told its logs nothing that must not be read along."""
    for stream in (process.stdout, process.logs):
        published = [line for line in stream.splitlines() if CANARIES.search(line)]

        assert not published


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Run a provider."""
    with Simulator() as simulator:
        yield Provider(simulator)


@pytest.fixture
def env(vhost_url: str, provider: Provider, tmp_path: Path) -> dict[str, str]:
    """Return the configuration of a bridge on the test's broker and provider."""
    return environment(vhost_url, provider.url, tmp_path)


@pytest.fixture
def bridge_process(bridge_process: StartBridge) -> Iterator[StartBridge]:
    """Start `bridge` as often as asked; at the end its logs are searched for what they must not hold."""
    started: list[BridgeProcess] = []

    def start(*arguments: str, env: Mapping[str, str] | None = None, ready: bool = True) -> BridgeProcess:
        process = bridge_process(*arguments, env=env, ready=False)
        started.append(process)
        if ready:
            process.wait_ready()
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.stop(signal.SIGKILL)
        assert_silent(process)


@pytest.fixture
def unsearched_process(tmp_path: Path) -> Iterator[StartUnsearched]:
    """Start `bridge` as often as asked; its output may show texts, or the test searches it by itself."""
    started: list[BridgeProcess] = []

    def start(*arguments: str, env: Mapping[str, str]) -> BridgeProcess:
        started.append(BridgeProcess(tmp_path / f"process-{len(started)}", *arguments, env=env))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def ingest_settings() -> dict[str, str]:
    """Return what an ingest is given beside the broker and a free port; a file of tests may have its own."""
    return {}


@pytest.fixture
def start_ingest(
    bridge_process: StartBridge, vhost_url: str, ingest_settings: Mapping[str, str]
) -> StartIngest:
    """Start an ingest on the test's virtual host, and return it with its webhook."""
    authorization, _, _ = ingest_settings.get("BRIDGE_INGEST__AUTHORIZATION", "").partition(",")

    def start(*, ready: bool = True, **env: str) -> Ingest:
        settings = {"BRIDGE_BROKER__URL": vhost_url, "BRIDGE_INGEST__PORT": "0", **ingest_settings, **env}
        process = bridge_process("ingest", env=settings, ready=ready)
        return process, Webhook(port=listening_port(process), authorization=authorization or None)

    return start
