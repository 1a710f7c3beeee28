"""The check of `bridge doctor` on running processes, by their admin ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.adapters.admin_port import ask
from bridge.ops.examination import fail, ok, skipped, warn

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bridge.ops.examination import CheckResult
    from bridge.ports.http_results import Readiness
    from bridge.settings import Settings

#: The reason in a worker's readiness that explains why it has paused.
SENDING = "sending"
CONSUMING = "consuming"


def check(settings: Settings, processes: Collection[str]) -> Iterator[CheckResult]:
    """Report the state of `processes` ("worker", "ingest") that listen on the admin ports of these settings."""
    admin = settings.admin
    if admin.port == 0:
        yield skipped("admin.port is 0: the address of the process is unknown")
        return
    ports = {"worker": admin.worker_port, "ingest": admin.ingest_port}
    for port in sorted({ports[process] for process in processes}):
        yield from _look_at(admin.host, port)


def _look_at(host: str, port: int) -> Iterator[CheckResult]:
    where = f"{host}:{port}"
    try:
        said = ask(host, port)
    except TimeoutError:
        yield fail(f"the process on {where} does not answer: it is frozen", "restart it; its state is kept")
        return
    if said is None:
        yield skipped(f"no process listens on {where}, admin.host and admin.port, of this machine")
        return
    if said.readiness is None:
        yield warn(
            f"the program on {where} is not a process of the bridge", "set admin.port to the process's own"
        )
        return
    yield from _reported(said.stall, said.readiness, where)


def _reported(stall: str | None, readiness: Readiness, where: str) -> Iterator[CheckResult]:
    if stall is not None:
        yield fail(f"the process on {where} is frozen: {stall}", "restart it; its state is kept")
    for reason in readiness.reasons:
        if not reason.ok:
            yield warn(f"{reason.name}: {reason.detail}", "see Readiness in docs/operations.md")
    if readiness.ready:
        yield ok(f"the process on {where} is ready")


def no_consumer(settings: Settings, waiting: int) -> CheckResult:
    """Report why no worker consumes, by the readiness of the process on the admin port of these settings."""
    seen = f"no worker consumes; {waiting} commands wait"
    try:
        said = ask(settings.admin.host, settings.admin.worker_port) if settings.admin.port != 0 else None
    except (TimeoutError, ConnectionError):
        return warn(f"{seen}: the process on this machine does not answer", "restart it; its state is kept")
    reasons = (
        {} if said is None or said.readiness is None else {one.name: one for one in said.readiness.reasons}
    )
    # A supervisor names each after its process: `process 2: command_client`.
    paused = [one.detail for name, one in reasons.items() if name.endswith(SENDING) and not one.ok]
    if paused:
        return warn(
            f"{seen}: the worker on this machine has paused: {paused[0]}",
            "see Sending stopped in docs/operations.md",
        )
    if any(name.endswith(CONSUMING) for name in reasons):
        return warn(f"{seen}, though a worker runs on this machine", "its /readyz and its log say why")
    return warn(seen, "start `bridge worker`; where one runs on another machine, read its /readyz")
