"""Calls that send nothing: a JSON object, or a `CpaasError`."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from bridge.adapters.cpaas.codec import json_object
from bridge.adapters.cpaas.tokens import Denied
from bridge.adapters.cpaas.transport import MaybeSent, RequestNotSent
from bridge.domain import answers
from bridge.domain.answers import ProviderError
from bridge.domain.error_words import describe
from bridge.domain.provider_errors import classify_send, parse_error, parse_retry_after
from bridge.ports.provider_errors import CallRefused, NotFound, Unauthorized, Unreachable, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.cpaas.calls import Caller
    from bridge.adapters.cpaas.health import Health
    from bridge.adapters.cpaas.values import Json
    from bridge.adapters.cpaas.wire import Exchange
    from bridge.ports import Clock
    from bridge.ports.provider_errors import CpaasError

_NO_CONTENT = 204
_NOT_FOUND = 404


class Asker:
    """Asks the API for what sends nothing. No call is repeated, save for a token's renewal."""

    def __init__(self, caller: Caller, health: Health, clock: Clock) -> None:
        self._caller = caller
        self._health = health
        self._clock = clock

    def ask(
        self,
        method: str,
        path: Callable[[str], str],
        *,
        body: bytes | None = None,
        until: float | None = None,
    ) -> Json:
        """Return what the API answers: a JSON object, an empty one for 204.

        Raises:
            CpaasError: see `bridge.ports.provider_errors`.

        """
        exchange = self._call(method, path, body, until)
        if not 200 <= exchange.status < 300:
            raise self._judge(exchange)
        self._health.note_success(sent=False)
        if exchange.status == _NO_CONTENT or (method == "PUT" and not exchange.body.strip()):
            return {}
        answer = json_object(exchange.body)
        if answer is None:
            error = ProviderError(name="http", message="no JSON object", http_status=exchange.status)
            raise Unreadable("the provider's answer can't be read", error)
        return answer

    def delete(self, path: Callable[[str], str], *, until: float | None = None) -> None:
        """Delete what is at `path`; what is not there is deleted already.

        Raises:
            CpaasError: see `bridge.ports.provider_errors`.

        """
        try:
            exchange = self._call("DELETE", path, None, until)
            if not 200 <= exchange.status < 300:
                raise self._judge(exchange)
        except NotFound:
            return

    def _call(
        self, method: str, path: Callable[[str], str], body: bytes | None, until: float | None
    ) -> Exchange:
        try:
            return self._caller.call(method, path, body=body, until=until)
        except (RequestNotSent, MaybeSent) as error:
            raise Unreachable(str(error), error.error) from None
        except Denied as denied:
            raise self._error(denied.answer) from None

    def _judge(self, exchange: Exchange) -> CpaasError:
        error = parse_error(exchange.status, exchange.body)
        if exchange.status == _NOT_FOUND and _is_providers_own(exchange.body):
            return NotFound("the provider has no such thing", error)
        retry_after = parse_retry_after(exchange.headers.get("retry-after"), now=self._clock.now())
        answer = classify_send(exchange.status, retry_after=retry_after, error=error)
        if isinstance(answer, answers.Accepted):
            raise TypeError("a status beside 2xx can't be accepted")
        return self._error(answer)

    def _error(
        self, answer: answers.Blocked | answers.Unsent | answers.Ambiguous | answers.Refused
    ) -> CpaasError:
        match answer:
            case answers.Blocked(error=error):
                self._health.note_blocked(error)
                return Unauthorized("the provider refuses the account", error)
            case answers.Refused(error=error):
                return CallRefused("the provider refuses the call", error)
            case answers.Unsent(error=error) | answers.Ambiguous(error=error):
                # Of the network, in words of ours; the provider's own may hold numbers.
                is_ours = error.name in {"network", "timeout"}
                why = (is_ours and error.message) or f"the provider can't be used now: {describe(error)}"
                return Unreachable(why, error)
        assert_never(answer)


def _is_providers_own(body: bytes) -> bool:
    """Whether a 404 is the provider's; a proxy's page knows nothing of what is there."""
    return not body.strip() or json_object(body) is not None
