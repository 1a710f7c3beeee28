"""The admin port: liveness, readiness and metrics (specification section 6), without secrets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from prometheus_client.exposition import choose_encoder

from bridge.adapters.http.server.application import Application
from bridge.adapters.http.server.response import Response, problem
from bridge.ports.http_results import Readiness, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from bridge.adapters.http.server.parser import Request

PAGES = frozenset({"/livez", "/readyz", "/metrics"})
_NOT_FOUND = problem(404)
_METHOD_NOT_ALLOWED = problem(405, {"allow": "GET, HEAD"})


class Admin(Application):
    """The pages of the admin port; no body is read."""

    def __init__(
        self,
        ready: Callable[[], Readiness],
        registry: CollectorRegistry,
        stall: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`stall` returns the description of a stall. Both functions run on the server's thread and must not block."""
        self._ready = ready
        self._registry = registry
        self._stall = stall

    def check_head(self, request: Request) -> Response:
        """Response."""
        refusal = refusal_of(request)
        if refusal is not None:
            return refusal
        match request.path:
            case "/livez":
                return liveness_answer(self._stall())
            case "/readyz":
                return readiness_answer(self._ready())
            case _:
                return metrics_answer(request, self._registry)


def refusal_of(request: Request) -> Response | None:
    """Return the response to a request that no admin port serves; None for its pages."""
    if request.path not in PAGES:
        return _NOT_FOUND
    return None if request.method in {"GET", "HEAD"} else _METHOD_NOT_ALLOWED


def liveness_answer(stall: str | None) -> Response:
    """Return 200 while the process works, and 503 with the description of a stall: then only a restart helps."""
    text = stall or "ok"
    return Response(
        200 if stall is None else 503,
        {"cache-control": "no-store", "content-type": "text/plain; charset=utf-8"},
        f"{text}\n".encode(),
    )


def readiness_answer(readiness: Readiness) -> Response:
    """Return a response with `readiness`, which `read_readiness` can read."""
    reasons = {reason.name: {"ok": reason.ok, "detail": reason.detail} for reason in readiness.reasons}
    return Response(
        200 if readiness.ready else 503,
        {"cache-control": "no-store", "content-type": "application/json"},
        json.dumps({"ready": readiness.ready, "reasons": reasons}).encode(),
    )


def read_readiness(body: str) -> Readiness | None:
    """Return the readiness in another process's response; None if the response is incomplete."""
    try:
        said = json.loads(body)
        reasons = tuple(Reason(name, one["ok"], one["detail"]) for name, one in said["reasons"].items())
        return Readiness(ready=said["ready"], reasons=reasons)
    except (ValueError, KeyError):
        return None


def metrics_answer(request: Request, registry: CollectorRegistry) -> Response:
    """Return a response with the metrics of `registry`, in the requested format."""
    try:
        encode, content_type = choose_encoder(request.fields.get(b"accept", b"").decode("latin-1"))
    except TypeError:  # a version that is not a number
        encode, content_type = choose_encoder("")
    return Response(200, {"content-type": content_type}, encode(registry))
