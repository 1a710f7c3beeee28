"""The admin port of a supervisor, which answers for all its processes (specification section 6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from bridge.adapters.http.admin_app import (
    liveness_answer,
    metrics_answer,
    read_readiness,
    readiness_answer,
    refusal_of,
)
from bridge.adapters.http.scraper import Merged, scrape
from bridge.adapters.http.server.application import Application
from bridge.adapters.http.server.response import failure
from bridge.ports.http_results import Readiness, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prometheus_client.registry import Collector

    from bridge.adapters.http.server.parser import Request
    from bridge.adapters.http.server.response import Response
    from bridge.ports.http_results import Process


#: The detail for a process that listens and does not answer.
SILENT = "does not answer"
#: The name of the reason that reports whether a process's threads run.
WORKING = "working"


class SupervisorAdmin(Application):
    """The pages for all processes."""

    #: Seconds; requests for a page have no body.
    body_timeout = 1.0

    def __init__(
        self, processes: Callable[[], Sequence[Process]], draining: Callable[[], bool], own: Collector
    ) -> None:
        """`own` are the supervisor's metrics. All are called on the server's thread and must not block."""
        self._processes = processes
        self._draining = draining
        self._own = own
        #: Tasks that poll the processes: the event loop holds no strong reference to them.
        self._polling: set[asyncio.Task[None]] = set()

    def check_head(self, request: Request) -> Response | None:
        """Return the response to a request that needs no process."""
        return refusal_of(request)

    def handle(self, request: Request, answer: Callable[[Response], None]) -> None:
        """Poll the processes, then respond."""
        task = asyncio.get_running_loop().create_task(self._handle(request, answer))
        self._polling.add(task)
        task.add_done_callback(self._polling.discard)

    async def _handle(self, request: Request, answer: Callable[[Response], None]) -> None:
        pages = {"/livez": self._liveness, "/readyz": self._readiness}
        page = pages.get(request.path, self._metrics)
        try:
            answered = await page(request)
        except Exception as error:  # noqa: BLE001 - the client gets no details
            answered = failure(error, request)
        answer(answered)

    async def _liveness(self, _: Request) -> Response:
        found = await readiness_of_all(self._processes(), draining=self._draining())
        return liveness_answer(stall_of(found))

    async def _readiness(self, _: Request) -> Response:
        return readiness_answer(await readiness_of_all(self._processes(), draining=self._draining()))

    async def _metrics(self, request: Request) -> Response:
        ports = {process.number: process.port for process in self._processes() if process.port is not None}
        texts = await asyncio.gather(*(scrape(port, "/metrics") for port in ports.values()))
        registry = CollectorRegistry()
        registry.register(self._own)
        registry.register(Merged({number: text for number, text in zip(ports, texts, strict=True) if text}))
        # In a thread: merging takes some milliseconds for each process.
        return await asyncio.to_thread(metrics_answer, request, registry)


async def readiness_of_all(processes: Sequence[Process], *, draining: bool) -> Readiness:
    """Poll all processes; return their reasons, each named after its process."""
    found = await asyncio.gather(*map(_readiness_of, processes))
    return Readiness(
        ready=not draining and all(one.ready for one in found),
        reasons=(
            *(reason for one in found for reason in one.reasons),
            Reason("draining", ok=not draining, detail="stopping" if draining else "no"),
        ),
    )


def stall_of(readiness: Readiness) -> str | None:
    """Return the process that is stalled or does not answer; None without one. A restarting process does not count."""
    for reason in readiness.reasons:
        if not reason.ok and (reason.name.endswith(f": {WORKING}") or reason.detail == SILENT):
            return f"{reason.name}: {reason.detail}"
    return None


async def _readiness_of(process: Process) -> Readiness:
    """Return the readiness of one process, with its reasons named after it."""
    name = f"process {process.number}"
    if process.port is None:
        return Readiness(ready=False, reasons=(Reason(name, ok=False, detail=process.detail),))
    said = read_readiness(await scrape(process.port, "/readyz") or "")
    if said is None:
        return Readiness(ready=False, reasons=(Reason(name, ok=False, detail=SILENT),))
    return Readiness(
        ready=said.ready,
        reasons=tuple(reason._replace(name=f"{name}: {reason.name}") for reason in said.reasons),
    )
