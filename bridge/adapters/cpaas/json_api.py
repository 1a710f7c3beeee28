"""The provider's JSON API for calls that send nothing; failures are `CpaasError`."""

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


class JsonApi:
    """Makes API calls that send nothing. A call is repeated only after a token's renewal."""

    def __init__(self, caller: Caller, health: Health, clock: Clock) -> None:
        self._caller = caller
        self._health = health
        self._clock = clock

    def request(
        self,
        method: str,
        path: Callable[[str], str],
        *,
        body: bytes | None = None,
        until: float | None = None,
    ) -> Json:
        """Return the API's response: a JSON object, empty for 204.

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
            error = ProviderError(name="http", message="not a JSON object", http_status=exchange.status)
            raise Unreadable("the provider's response can't be read", error)
        return answer

    def delete(self, path: Callable[[str], str], *, until: float | None = None) -> None:
        """Delete the resource at `path`; a missing one counts as deleted.

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
            return NotFound("the provider has no such resource", error)
        retry_after = parse_retry_after(exchange.headers.get("retry-after"), now=self._clock.now())
        answer = classify_send(exchange.status, retry_after=retry_after, error=error)
        if isinstance(answer, answers.Accepted):
            raise TypeError("a status other than 2xx can't be accepted")
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
                # Errors of the network have our own texts; the provider's texts may contain numbers.
                is_ours = error.name in {"network", "timeout"}
                why = (is_ours and error.message) or f"the provider can't be used now: {describe(error)}"
                return Unreachable(why, error)
        assert_never(answer)


def _is_providers_own(body: bytes) -> bool:
    """Whether a 404 comes from the provider; a proxy's error page does not prove that a resource is missing."""
    return not body.strip() or json_object(body) is not None
