"""One request in, one reply out: routes it, checks its token, and applies the faults to it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog

from bridge.adapters.http.server.application import Application
from bridge.adapters.http.server.response import RawResponse, Response
from bridge.simulator.calls import RecordedCall, text_of
from bridge.simulator.control import Control
from bridge.simulator.errors import ApiError, forbidden, invalid_token
from bridge.simulator.history_api import HistoryEndpoints
from bridge.simulator.http import Reply, response_of, simulator_request
from bridge.simulator.router import Route, Router
from bridge.simulator.send_api import SendEndpoints
from bridge.simulator.subscriptions_api import Subscribing

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.http.server.parser import Request
    from bridge.simulator.faults import Fault, Target
    from bridge.simulator.http import SimulatorRequest
    from bridge.simulator.state import Account

log = structlog.get_logger()

#: The name of each kind of call in the statistics.
_COUNTED: dict[Target, str] = {
    "send": "sends",
    "token": "token_requests",
    "history": "history_requests",
    "subscriptions": "subscription_requests",
}


class App(Application):
    """Answers requests out of an account."""

    #: A send has some hundred bytes.
    max_body = 1_048_576
    body_timeout = 60.0
    #: A provider that dies says nothing.
    unavailable = RawResponse()
    serves_half_closed = False

    def __init__(self, account: Account) -> None:
        self._account = account
        self._in_flight: dict[Target, int] = {}
        #: For each request that is not answered yet: what is called once it is, or once its client is gone.
        self._done: dict[Request, Callable[[], None]] = {}
        apis = (SendEndpoints(account), HistoryEndpoints(account), Subscribing(account), Control(account))
        self._router = Router(route for api in apis for route in api.routes())

    def check_head(self, _: Request) -> None:
        """Have every body read."""

    def handle(self, request: Request, respond: Callable[[Response | RawResponse], None]) -> None:
        """Answer after the reply's delay, in its manner."""
        reply = self._reply(simulator_request(request))
        if reply.done is not None:
            self._done[request] = reply.done
        if reply.delay:
            asyncio.get_running_loop().call_later(reply.delay, self._respond, request, reply, respond)
        else:
            self._respond(request, reply, respond)

    def on_abandoned(self, request: Request) -> None:
        """Count the call no longer."""
        done = self._done.pop(request, None)
        if done is not None:
            done()

    def _respond(
        self, request: Request, reply: Reply, respond: Callable[[Response | RawResponse], None]
    ) -> None:
        response = response_of(reply, self._account.settings.keep_alive)
        if isinstance(response, Response):
            self.on_abandoned(request)
        if response is not None:
            respond(response)

    def _reply(self, request: SimulatorRequest) -> Reply:
        self._account.stats["requests"] += 1
        try:
            route, captured = self._router.find(request.method, request.parts)
            if route.target is None:
                return self._run(route, request, captured)
            return self._provider(route, route.target, request, captured)
        except ApiError as error:
            return error.reply

    def _provider(
        self, route: Route, target: Target, request: SimulatorRequest, captured: tuple[str, ...]
    ) -> Reply:
        """Answer as the provider would, unless a fault is planned."""
        refusal = self._refusal(target, request, captured)
        if refusal is not None:
            self._note(target, request, refusal, None)
            return refusal
        account = self._account
        account.stats[_COUNTED[target]] += 1
        fault = account.faults.take(target, request.body, account.settings.failing)
        if fault is None:
            reply = self._run(route, request, captured)
        else:
            account.stats[f"fault:{fault.name}"] += 1
            log.info("fault.applied", name=fault.name, target=target)
            reply = self._failed(fault, route, request, captured)
        account.stats[f"status:{reply.status}"] += 1
        self._note(target, request, reply, fault)
        return self._timed(target, reply)

    def _failed(
        self, fault: Fault, route: Route, request: SimulatorRequest, captured: tuple[str, ...]
    ) -> Reply:
        """Let the call have its effect now, later or never, and its answer go wrong."""
        if fault.late is not None:
            late = partial(self._altered, fault, route, request, captured)
            asyncio.get_running_loop().call_later(fault.late, late)
        elif fault.has_effect:
            reply = self._altered(fault, route, request, captured)
            # A refusal stays one: what would have been refused anyway is no accepted call.
            return reply if reply.status >= HTTPStatus.BAD_REQUEST else fault.distort(reply)
        return fault.distort(Reply(status=200))

    def _altered(
        self, fault: Fault, route: Route, request: SimulatorRequest, captured: tuple[str, ...]
    ) -> Reply:
        """Let the call have its effect, and what it sends be shown as the fault says."""
        self._account.alteration = fault.alter
        try:
            return self._run(route, request, captured)
        finally:
            self._account.alteration = None

    def _refusal(self, target: Target, request: SimulatorRequest, captured: tuple[str, ...]) -> Reply | None:
        """Return the refusal of a call without a good token, or whose path does not name its user."""
        if target == "token":
            return None
        if not self._account.tokens.good(request.headers.get("authorization", ""), self._account.clock.now()):
            self._account.stats["status:401"] += 1
            return invalid_token().reply
        return forbidden().reply if captured[0] != self._account.settings.user_id else None

    def _run(self, route: Route, request: SimulatorRequest, captured: tuple[str, ...]) -> Reply:
        try:
            return route.handler(request, *captured)
        except ApiError as error:
            return error.reply
        except Exception:
            log.exception("request.failed", path=route.template)
            return Reply(status=500)

    def _note(self, target: Target, request: SimulatorRequest, reply: Reply, fault: Fault | None) -> None:
        """Note the call for the list of all calls."""
        account = self._account
        account.calls.append(
            RecordedCall(
                kind=target,
                at=int(account.clock.now() * 1000),
                in_flight=self._in_flight.get(target, 0) + 1,
                message=text_of(target, request),
                fault=None if fault is None else fault.name,
                status=reply.status,
            )
        )

    def _timed(self, target: Target, reply: Reply) -> Reply:
        """Give `reply` the latency of its kind, and count how many of that kind are in flight."""
        settings = self._account.settings
        delay = {"send": settings.latency, "token": settings.token_latency}.get(target, 0.0)
        count = self._in_flight[target] = self._in_flight.get(target, 0) + 1
        most = f"max_concurrent_{_COUNTED[target]}"
        self._account.stats[most] = max(self._account.stats[most], count)

        def done() -> None:
            self._in_flight[target] -= 1

        return replace(reply, delay=delay, done=done)
