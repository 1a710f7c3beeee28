"""Whether the provider's clock and ours agree, by the `Date` of its answers (RFC 9110 section 6.6.1).

What was sent is known again in the provider's history by its time, among others (SPEC section 4, "Reconcile"). Where
the clocks differ by more than is allowed for, a message of ours would not be found there, and be sent again. So then
nothing is sent at all: what was not sent can't be in doubt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.domain.answers import ProviderError
from bridge.domain.provider_errors import parse_http_date
from bridge.domain.reconciliation import COARSE

if TYPE_CHECKING:
    from bridge.adapters.cpaas.transport import Transport
    from bridge.adapters.cpaas.wire import Exchange
    from bridge.ports import Clock


class Timekeeping:
    """A transport that compares the clocks with each answer; used by many threads."""

    def __init__(self, transport: Transport, clock: Clock, skew: float) -> None:
        """`skew` is how many seconds the clocks may differ by."""
        self._transport = transport
        self._clock = clock
        self._skew = skew
        self._differ_by = 0.0

    def exchange(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None = None
    ) -> Exchange:
        """Send one request; see `Transport.exchange`."""
        asked_at = self._clock.now()
        exchange = self._transport.exchange(method, path, headers, body)
        self._compare(exchange, asked_at)
        return exchange

    @property
    def trouble(self) -> ProviderError | None:
        """What is wrong, where the clocks differ by too much."""
        if self._differ_by <= self._skew + COARSE:
            return None
        return ProviderError(
            name="clock",
            message=f"our clock and the provider's differ by {self._differ_by:.0f} s, reconcile.skew allows "
            f"{self._skew:g}: set ours right",
        )

    def _compare(self, exchange: Exchange, asked_at: float) -> None:
        """Compare: the provider's time at its answer lies between our asking and now."""
        told = parse_http_date(exchange.headers.get("date", ""))
        if told is None:
            # No proxy or provider need send one; then nothing is known.
            return
        if told < asked_at:
            self._differ_by = asked_at - told
        else:
            self._differ_by = max(0.0, told - self._clock.now())
