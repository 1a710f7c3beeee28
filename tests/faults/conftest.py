"""Fixtures of the fault suite. Its long part runs only with `--faults`: `make faults`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.faults.cluster.report import HEAD as CLUSTER_HEAD
from tests.faults.report import DOCUMENT, HEAD, Report
from tests.faults.scenario import Scenario
from tests.harness.documents import write
from tests.harness.rabbitmq_programs import OTHER

if TYPE_CHECKING:
    from tests.harness.broker import Broker

#: The reports, each under the name of its place in the document.
REPORTS = pytest.StashKey[dict[str, Report]]()
RESULTS, CLUSTER = "results", "cluster"
#: Where a whole run of the tests of a report stands, and the option that runs it.
WHOLE = {RESULTS: ("tests/faults", "--faults"), CLUSTER: ("tests/faults/cluster", "--faults-cluster")}
#: The option that runs the tests with a marker.
LONG = {"long": "--faults", "cluster": "--faults-cluster"}


class MakeScenario(Protocol):
    """How a test starts a scenario."""

    def __call__(self, name: str, **arguments: object) -> Scenario: ...


class Preloaded(Protocol):
    """How a scenario gets the library that it sets as a worker's `LD_PRELOAD`."""

    def __call__(self, name: str) -> Path: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make faults` ask for everything."""
    parser.addoption(
        "--faults", action="store_true", help="run the long fault scenarios, and write the paper's table"
    )
    parser.addoption(
        "--faults-cluster", action="store_true", help="run the scenarios of three RabbitMQ nodes"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin the reports."""
    config.stash[REPORTS] = {RESULTS: Report(HEAD), CLUSTER: Report(CLUSTER_HEAD)}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long scenarios out unless `--faults` is given."""
    for marker, option in LONG.items():
        if not config.getoption(option, default=False):
            long = [item for item in items if item.get_closest_marker(marker) is not None]
            config.hook.pytest_deselected(items=long)
            items[:] = [item for item in items if item not in long]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the report on, where this process ran a share of the tests for another."""
    share: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if share is not None:
        share["faults"] = {name: report.rows for name, report in session.config.stash[REPORTS].items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a process found that ran a share of the tests; xdist says that it ended."""
    share = getattr(node, "workeroutput", {})
    for name, rows in share.get("faults", {}).items():
        node.config.stash[REPORTS][name].rows += rows


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the tables, and keep those of which the whole suite ran, on the release that the page names."""
    for name, report in config.stash[REPORTS].items():
        if not report.rows:
            continue
        terminalreporter.section(f"faults: {name}")
        terminalreporter.write(report.table())
        directory, option = WHOLE[name]
        whole = directory in config.args and not config.getoption("keyword") and not os.environ.get(OTHER)
        if config.getoption(option, default=False) and whole:
            write(DOCUMENT, name, report.table())
            terminalreporter.write_line(f"written to {DOCUMENT.name}")


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Preloaded:
    """Build what changes what the system says to a child; skips where there is no compiler."""
    directory = tmp_path_factory.mktemp("preloaded")

    @cache
    def build(name: str) -> Path:
        compiler = shutil.which("cc")
        if compiler is None or sys.platform != "linux":
            if "CI" in os.environ:
                pytest.fail("no C compiler: install gcc")
            pytest.skip("what is preloaded needs Linux and a C compiler: install gcc")
        library = directory / f"{name}.so"
        source = Path(__file__).with_name(f"{name}.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        return library

    return build


@pytest.fixture
def make_scenario(rabbitmq: Broker, tmp_path: Path, request: pytest.FixtureRequest) -> MakeScenario:
    """Start a scenario."""
    report = request.config.stash[REPORTS][RESULTS]

    def make(name: str, **arguments: object) -> Scenario:
        name = name if arguments.get("ledger") is None else f"{name}, on PostgreSQL"
        broker = arguments.pop("broker", rabbitmq)
        return Scenario(name, broker, tmp_path, report, **arguments)  # type: ignore[arg-type]  # passed on as they are

    return make


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def ledger(request: pytest.FixtureRequest) -> str | None:
    """Return the URL of the ledger's database, of each kind; None for a file of SQLite's."""
    return request.getfixturevalue("postgresql_url") if request.param == "postgresql" else None
