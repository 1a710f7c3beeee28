"""What all tests share: the guard around the machine, the broker, child processes."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests.harness import contract_check, network_namespaces
from tests.harness.broker import Broker, BrokerMissing
from tests.harness.broker_client import BrokerClient
from tests.harness.forks import Server
from tests.harness.pgbouncer import Pgbouncer, PgbouncerMissing
from tests.harness.postgres import Postgres, PostgresMissing
from tests.harness.processes import BridgeProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


T = TypeVar("T")
S = TypeVar("S", Broker, Postgres, Pgbouncer)


class StartBridge(Protocol):
    """How a test starts `bridge`."""

    def __call__(
        self, *arguments: str, env: Mapping[str, str] | None = None, ready: bool = True
    ) -> BridgeProcess:
        """Start `bridge` with `arguments` and wait until it is ready, where `ready` asks for it."""
        ...


# How fast examples are made says something of the machine that makes them, and of what else it does.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


# A shell has what it runs in the background ignore Ctrl-C, and so would all that the tests start and press it for.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# -- nothing leaves the machine --------------------------------------------------------------------


def _stay_on_this_machine(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse to connect, send or resolve beyond loopback. An audit hook sees what any library does."""
    if event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        if isinstance(address, tuple) and not _is_loopback(address[0]):
            pytest.fail(f"a test reached for {address[0]}: loopback only")
    elif event == "socket.getaddrinfo":
        host = arguments[0]
        if host and not _is_loopback(host):
            # RFC 6761: such a name never resolves. Said here, so that nobody is asked.
            if str(host).endswith(".invalid"):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            pytest.fail(f"a test looked up {host}: loopback only")


def _is_loopback(host: str | bytes) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    return address.is_loopback or address.is_unspecified or address in network_namespaces.RANGE


sys.addaudithook(_stay_on_this_machine)


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> None:
    """No test is coloured by the configuration of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("BRIDGE_")]:
        del os.environ[name]


# -- the contract ----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _messages_keep_the_contract() -> Iterator[None]:
    """Fail a test that has seen a message of the bridge that is against the contract."""
    contract_check.violations.clear()
    yield
    found, contract_check.violations[:] = contract_check.violations[:], []
    if found:
        pytest.fail("\n".join(found[: contract_check.SHOWN]))


def or_skip(make: Callable[[], T], missing: type[Exception]) -> T:
    """Return what `make` makes; skip the test where the machine lacks it, unless it is continuous integration."""
    try:
        return make()
    except missing as why:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(why))


@contextmanager
def running(server: S) -> Iterator[S]:
    """Run a server of the tests."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


# -- the broker ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[Broker]:
    """Run a RabbitMQ of the suite's own, from the first test that asks for it to the end."""
    with running(or_skip(Broker, BrokerMissing)) as server:
        yield server


@pytest.fixture
def vhost(rabbitmq: Broker) -> str:
    """Name a virtual host that no other test uses, on a broker that runs."""
    # Whatever the test before left behind: a broker that is down, or one that stands still.
    rabbitmq.thaw()
    if not rabbitmq.running:
        rabbitmq.start()
    return rabbitmq.new_vhost()


@pytest.fixture
def vhost_url(rabbitmq: Broker, vhost: str) -> str:
    """Return the AMQP URL of the test's virtual host."""
    return rabbitmq.url(vhost)


@pytest.fixture
def amqp(vhost_url: str) -> Iterator[BrokerClient]:
    """Connect to the test's virtual host, with the collector bound before anything happens."""
    with BrokerClient(vhost_url) as peer:
        peer.collect()
        yield peer


# -- the database ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgres]:
    """Run a PostgreSQL of the suite's own, from the first test that asks for it to the end."""
    with running(or_skip(Postgres, PostgresMissing)) as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql: Postgres) -> str:
    """Return the URL of a ledger in a database that no other test uses, on a server that runs."""
    # Whatever the test before left behind: a server that is down, or one that stands still.
    postgresql.thaw()
    if not postgresql.running:
        postgresql.start()
    return postgresql.url(postgresql.new_database())


@pytest.fixture(scope="session")
def standby(postgresql: Postgres) -> Iterator[Postgres]:
    """Run a hot standby of the suite's PostgreSQL, from the first test that asks for it to the end."""
    with running(Postgres(postgresql)) as server:
        yield server


@pytest.fixture
def own_pair() -> Iterator[tuple[Postgres, Postgres]]:
    """Run a primary and its standby, for a test that promotes the standby."""
    with running(or_skip(Postgres, PostgresMissing)) as primary, running(Postgres(primary)) as standby:
        yield primary, standby


@pytest.fixture
def pgbouncer(postgresql: Postgres) -> Iterator[Pgbouncer]:
    """Run a pgbouncer before the suite's PostgreSQL that pools transactions, with two sessions for all clients."""
    with running(or_skip(lambda: Pgbouncer(postgresql), PgbouncerMissing)) as pooler:
        yield pooler


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a ledger that is not there yet, on each kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    url: str = request.getfixturevalue("postgresql_url")
    return url


# -- child processes -------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Allow forks as children where `tests.harness.forks` does not list a reason against them."""
    faults = any(item.config.getoption(option, default=False) for option in ("--faults", "--faults-cluster"))
    Server.allowed = not faults and item.get_closest_marker("executed") is None


def pytest_unconfigure() -> None:
    """End the process that forks them."""
    if Server.running is not None:
        Server.running.stop()


@pytest.fixture
def bridge_process(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[StartBridge]:
    """Start `bridge` as often as asked; kill what still runs at the end; show the logs of a failed test."""
    started: list[BridgeProcess] = []
    numbers = count(1)

    def start(*arguments: str, env: Mapping[str, str] | None = None, ready: bool = True) -> BridgeProcess:
        name = f"bridge-{next(numbers)}-{arguments[0] if arguments else ''}"
        process = BridgeProcess(tmp_path / name, *arguments, env=env)
        started.append(process)
        if ready:
            process.wait_ready()
        return process

    yield start
    for process in started:
        process.kill()
        for stream, text in (("stdout", process.stdout), ("stderr", process.logs)):
            title = f"{stream} of bridge {' '.join(process.arguments)} (ended with {process.returncode})"
            request.node.add_report_section("teardown", title, text[-20_000:])
