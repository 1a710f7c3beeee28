"""The admin port: is it alive, is it ready, how is it doing (SPEC section 6). Nothing secret stands here."""

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
    """Every request is answered by its head; no body is read."""

    def __init__(
        self,
        ready: Callable[[], Readiness],
        registry: CollectorRegistry,
        stall: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`stall` says what of the process stands still; both run on the server's thread and must not block."""
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
    """Return the answer to what no admin port has; None for its pages."""
    if request.path not in PAGES:
        return _NOT_FOUND
    return None if request.method in {"GET", "HEAD"} else _METHOD_NOT_ALLOWED


def liveness_answer(stall: str | None) -> Response:
    """Response 200 while the process works, and 503 with what of it stands still: only a restart helps then."""
    text = stall or "ok"
    return Response(
        200 if stall is None else 503,
        {"cache-control": "no-store", "content-type": "text/plain; charset=utf-8"},
        f"{text}\n".encode(),
    )


def readiness_answer(readiness: Readiness) -> Response:
    """Answer with `readiness`, as `read_readiness` reads it."""
    reasons = {reason.name: {"ok": reason.ok, "detail": reason.detail} for reason in readiness.reasons}
    return Response(
        200 if readiness.ready else 503,
        {"cache-control": "no-store", "content-type": "application/json"},
        json.dumps({"ready": readiness.ready, "reasons": reasons}).encode(),
    )


def read_readiness(body: str) -> Readiness | None:
    """Return what another process of ours answered; None where that is no whole answer."""
    try:
        said = json.loads(body)
        reasons = tuple(Reason(name, one["ok"], one["detail"]) for name, one in said["reasons"].items())
        return Readiness(ready=said["ready"], reasons=reasons)
    except (ValueError, KeyError):
        return None


def metrics_answer(request: Request, registry: CollectorRegistry) -> Response:
    """Answer with what `registry` collects, in the format that is asked for."""
    try:
        encode, content_type = choose_encoder(request.fields.get(b"accept", b"").decode("latin-1"))
    except TypeError:  # a version that is no number
        encode, content_type = choose_encoder("")
    return Response(200, {"content-type": content_type}, encode(registry))
