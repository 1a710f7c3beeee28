"""The admin port of a supervisor: it answers for all of its processes (SPEC section 6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry

from bridge.adapters.http.admin_app import (
    Live,
    Readiness,
    Reason,
    answer_metrics,
    answer_readiness,
    read_readiness,
)
from bridge.adapters.http.prompt import PromptApp
from bridge.adapters.http.scraping import Merged, scrape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import falcon.asgi
    from prometheus_client.registry import Collector


class Process(NamedTuple):
    """What the supervisor knows of one of its processes."""

    number: int
    #: Where its own admin port is; None while there is none.
    port: int | None
    #: What it is about, for people.
    detail: str


def make_supervisor_app(
    processes: Callable[[], Sequence[Process]], draining: Callable[[], bool], own: Collector
) -> PromptApp:
    """Return the ASGI app; `own` are the supervisor's metrics. All are called on its thread and must not block."""
    app = PromptApp()
    app.add_route("/livez", Live())
    app.add_route("/readyz", _Ready(processes, draining))
    app.add_route("/metrics", _Metrics(processes, own))
    return app


class _Ready:
    def __init__(self, processes: Callable[[], Sequence[Process]], draining: Callable[[], bool]) -> None:
        self._processes = processes
        self._draining = draining

    async def on_get(self, _req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        draining = self._draining()
        found = await asyncio.gather(*map(_readiness_of, self._processes()))
        answer_readiness(
            resp,
            Readiness(
                ready=not draining and all(one.ready for one in found),
                reasons=(
                    *(reason for one in found for reason in one.reasons),
                    Reason("draining", ok=not draining, detail="stopping" if draining else "no"),
                ),
            ),
        )


async def _readiness_of(process: Process) -> Readiness:
    """Return what one process says of itself, its reasons named after it."""
    name = f"process {process.number}"
    if process.port is None:
        return Readiness(ready=False, reasons=(Reason(name, ok=False, detail=process.detail),))
    said = read_readiness(await scrape(process.port, "/readyz") or "")
    if said is None:
        return Readiness(ready=False, reasons=(Reason(name, ok=False, detail="does not answer"),))
    return Readiness(
        ready=said.ready,
        reasons=tuple(reason._replace(name=f"{name}: {reason.name}") for reason in said.reasons),
    )


class _Metrics:
    def __init__(self, processes: Callable[[], Sequence[Process]], own: Collector) -> None:
        self._processes = processes
        self._own = own

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        ports = {process.number: process.port for process in self._processes() if process.port is not None}
        texts = await asyncio.gather(*(scrape(port, "/metrics") for port in ports.values()))
        registry = CollectorRegistry()
        registry.register(self._own)
        registry.register(Merged({number: text for number, text in zip(ports, texts, strict=True) if text}))
        # Some milliseconds for each process, in which the others are to be answered.
        await asyncio.to_thread(answer_metrics, req, resp, registry)
