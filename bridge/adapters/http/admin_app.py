"""The admin port: is it alive, is it ready, how is it doing (SPEC section 6). Nothing secret stands here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.exposition import choose_encoder

from bridge.adapters.http.prompt import PromptApp

if TYPE_CHECKING:
    from collections.abc import Callable

    import falcon.asgi
    from prometheus_client import CollectorRegistry


class Reason(NamedTuple):
    """One thing that was looked at; `detail` is for people, in words of our own."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether work may be sent here, and what that was told from. A reason may be not ok and only reported."""

    ready: bool
    reasons: tuple[Reason, ...] = ()


def make_admin_app(ready: Callable[[], Readiness], registry: CollectorRegistry) -> PromptApp:
    """Return the ASGI app of the admin port. `ready` is called on its thread and must not block."""
    app = PromptApp()
    app.add_route("/livez", Live())
    app.add_route("/readyz", _Ready(ready))
    app.add_route("/metrics", _Metrics(registry))
    return app


class Live:
    """Alive is whoever answers: a restart cures no broker that is down."""

    async def on_get(self, _req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer that this process lives."""
        resp.content_type = "text/plain; charset=utf-8"
        resp.data = b"ok\n"


class _Ready:
    def __init__(self, ready: Callable[[], Readiness]) -> None:
        self._ready = ready

    async def on_get(self, _req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        answer_readiness(resp, self._ready())


class _Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        answer_metrics(req, resp, self._registry)


def answer_readiness(resp: falcon.asgi.Response, readiness: Readiness) -> None:
    """Answer with `readiness`, as `read_readiness` reads it."""
    resp.status = 200 if readiness.ready else 503
    resp.set_header("Cache-Control", "no-store")
    resp.content_type = "application/json"
    reasons = {reason.name: {"ok": reason.ok, "detail": reason.detail} for reason in readiness.reasons}
    resp.data = json.dumps({"ready": readiness.ready, "reasons": reasons}).encode()


def read_readiness(body: str) -> Readiness | None:
    """Return what another process of ours answered; None where that is no whole answer."""
    try:
        said = json.loads(body)
        reasons = tuple(Reason(name, one["ok"], one["detail"]) for name, one in said["reasons"].items())
        return Readiness(ready=said["ready"], reasons=reasons)
    except (ValueError, KeyError):
        return None


def answer_metrics(req: falcon.asgi.Request, resp: falcon.asgi.Response, registry: CollectorRegistry) -> None:
    """Answer with what `registry` collects, in the format that is asked for."""
    try:
        encode, content_type = choose_encoder(req.get_header("Accept") or "")
    except TypeError:  # a version that is no number
        encode, content_type = choose_encoder("")
    resp.content_type = content_type
    resp.data = encode(registry)
