"""The client for one provider account: sending, as the port `Gateway` has it, and the rest of the API."""

from __future__ import annotations

import json
import math
import re
import uuid
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from bridge.adapters.cpaas.calls import Caller, NoTime, Tokens
from bridge.adapters.cpaas.codec import segment, sms
from bridge.adapters.cpaas.health import Health
from bridge.adapters.cpaas.history import MessageHistory
from bridge.adapters.cpaas.json_api import JsonApi
from bridge.adapters.cpaas.retry import Repeater
from bridge.adapters.cpaas.subscriptions import ChannelCalls, SubscriptionCalls
from bridge.adapters.cpaas.tokens import Denied, TokenEndpoint
from bridge.adapters.cpaas.transport import MaybeSent, RequestNotSent, TracedTransport, Transport
from bridge.domain.answers import Accepted, Ambiguous, Blocked, Unsent
from bridge.domain.events import event_id
from bridge.domain.provider_errors import (
    classify_send,
    parse_error,
    parse_retry_after,
    parse_send_response,
)
from bridge.domain.submissions import Attempted
from bridge.ports.provider_errors import CpaasError, Unauthorized

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from bridge.adapters.cpaas.account import CpaasAccount
    from bridge.adapters.cpaas.retry import RetryPolicy
    from bridge.domain.answers import Answer
    from bridge.domain.submissions import Submission
    from bridge.ports import Clock, Tracer

#: W3C Trace Context section 3.2.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class CpaasClient:
    """The client for the provider, for any number of threads; each has a separate connection.

    Sending returns a value and raises no error of the provider or the network. All other calls, in `history`,
    `subscriptions` and `channels`, raise a `CpaasError`.
    """

    def __init__(
        self,
        account: CpaasAccount,
        clock: Clock,
        retry: RetryPolicy,
        stopping: threading.Event,
        *,
        skew: float = math.inf,
        tracer: Tracer | None = None,
    ) -> None:
        """Nothing is sent while the provider's clock differs from ours by more than `skew` seconds."""
        agent = f"sms-bridge/{version('sms-bridge')}"
        self._account = account
        self._clock = clock
        self._transport = Transport(account, clock, skew)
        endpoint = TokenEndpoint(account, self._transport, clock, agent)
        self._tokens = Tokens(endpoint, clock, timeout=account.total_timeout)
        transport = (
            self._transport if tracer is None else TracedTransport(self._transport, tracer, account.base_url)
        )
        self._caller = Caller(transport, self._tokens, clock, agent=agent, longest=account.total_timeout)
        self._repeater = Repeater(retry, clock, stopping)
        self._health = Health()
        self._api = JsonApi(self._caller, self._health, clock)
        self.history = MessageHistory(self._api)
        self.subscriptions = SubscriptionCalls(self._api, account.correlator)
        self.channels = ChannelCalls(self._api, account.correlator)

    @property
    def problem(self) -> str | None:
        """The reason why the account can't be used, as far as the last calls showed; None if it can."""
        return self._health.problem

    def probe(self, *, until: float | None = None) -> None:
        """Make a small call that sends nothing, to see whether the API answers and accepts the credentials.

        Raises:
            CpaasError: it does not.

        """
        try:
            self._api.request("GET", lambda user_id: sms(user_id, "remoteAddresses", max=1), until=until)
        except Unauthorized:
            raise
        except CpaasError:
            # Not the history: it may be down while sending works.
            self._api.request("GET", lambda user_id: sms(user_id, "inbound", "subscriptions"), until=until)

    def send(self, submission: Submission, *, until: float) -> Attempted:
        """Submit, and return the result; see `bridge.ports.Gateway`."""
        request = _request(submission, self._correlator(submission))
        started = self._clock.monotonic()
        if submission.expires_at is not None:
            # It may expire while it waits for a thread, a token or a repetition. A call that starts in time may end
            # late.
            left = submission.expires_at - self._clock.now()
            until = min(until, started + left + self._account.total_timeout)
        try:
            answer = self._attempt(request, until)
        except NoTime as late:
            return Attempted(answer=Unsent(error=late.error), attempts=0)
        attempted = Attempted(answer=answer, attempts=1)
        if isinstance(answer, Unsent):
            latest = until - self._account.total_timeout
            attempted = self._repeater.repeat(
                answer, lambda: self._attempt(request, until), started=started, latest=latest
            )
        if isinstance(attempted.answer, Blocked):
            self._health.note_blocked(attempted.answer.error)
        elif isinstance(attempted.answer, Accepted) and self._health.error is not None:
            self._health.note_success(sent=True)
        return attempted

    @property
    def is_in_time(self) -> bool:
        """Whether the provider's clock and ours agree well enough for sending."""
        return self._transport.problem is None

    def token_times(self) -> tuple[float, float] | None:
        """Return the age of the access token and its remaining lifetime in seconds; None without a token."""
        token, now = self._tokens.held, self._clock.monotonic()
        return None if token is None else (now - token.issued_at, token.expires_at - now)

    @property
    def numbers(self) -> frozenset[str] | None:
        """The account's numbers that may send, as the last token lists them; None if it lists none."""
        token = self._tokens.held
        return None if token is None else token.numbers

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def _attempt(self, request: _SendRequest, until: float) -> Answer:
        """Return the result of one call.

        Raises:
            NoTime: no call was made.

        """
        try:
            exchange = self._caller.call(
                "POST",
                request.path,
                body=request.body,
                traceparent=request.traceparent,
                until=until,
                sends=True,
            )
        except NoTime:
            raise
        except RequestNotSent as error:
            return Unsent(error=error.error)
        except MaybeSent as error:
            return Ambiguous(error=error.error)
        except Denied as denied:
            return denied.answer
        if 200 <= exchange.status < 300:
            return parse_send_response(exchange.status, exchange.body)
        retry_after = parse_retry_after(exchange.headers.get("retry-after"), now=self._clock.now())
        said = parse_error(exchange.status, exchange.body)
        return classify_send(exchange.status, retry_after=retry_after, error=said)

    def _correlator(self, submission: Submission) -> str:
        """Return the constant that all official clients send, or the submission's own value (wire reference 5)."""
        if self._account.correlator_mode == "instance":
            return self._account.correlator
        if submission.command_id is None:
            # Not recognized later. A constant would make this message a duplicate of the last one.
            return str(uuid.uuid4())
        return event_id("clientCorrelator", submission.command_id, submission.index)


class _SendRequest(NamedTuple):
    """The request that sends an SMS; its path is built from the user id."""

    path: Callable[[str], str]
    body: bytes
    #: The W3C trace context; no other value may become a header.
    traceparent: str | None


def _request(submission: Submission, correlator: str) -> _SendRequest:
    """Return the request that sends a submission to one address, in an array (wire reference 4.1)."""
    address, message = map(json.dumps, (submission.destination_address, submission.message))
    body = (
        f'{{"outboundSMSMessageRequest":{{"address":[{address}],"clientCorrelator":{json.dumps(correlator)},'
        f'"outboundSMSTextMessage":{{"message":{message}}}}}}}'
    )
    trace = submission.traceparent
    return _SendRequest(
        partial(_path, submission.sender_address),
        body.encode(),
        trace if trace is not None and _TRACEPARENT.fullmatch(trace) else None,
    )


def _path(sender: str, user_id: str) -> str:
    """Return the path to which an SMS from `sender` is posted.

    Raises:
        ValueError: see `segment`.

    """
    # The same as `sms`, and faster.
    return f"/cpaas/smsmessaging/v1/{segment(user_id)}/outbound/{segment(sender)}/requests"
