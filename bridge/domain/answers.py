"""The results of one attempt, as values.

An attempt is one HTTP call for a submission. Every behaviour of the provider, a proxy or the network is one of five
answers, and each has one consequence (SPEC section 4):

    Accepted    the provider has the submission          -> outcome
    Refused     the provider refused it permanently      -> outcome
    Unsent      certainly not submitted                  -> another attempt
    Ambiguous   may have been submitted                  -> no other attempt without a history lookup
    Blocked     the whole account is refused             -> nothing can be sent; the command waits on the queue
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderError:
    """An error of the provider or the network, as in the ``error`` key of events (SPEC section 3.2).

    `message` may contain numbers (wire reference 8.1): it belongs in an event, never in a log.
    """

    #: The kind: ``serviceException``, ``policyException``, ``oauth``, ``http``, ``network``, ``timeout``.
    name: str
    #: The provider's code, if given: ``SVC0002``, ``POL1009``, ``invalid_grant`` …
    exception_id: str | None = None
    message: str | None = None
    http_status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A 2xx with delivery info: the provider has the submission."""

    #: The provider's id of the message; None if the response has none (the submission is not sent again even so).
    message_id: str | None
    #: The number that the provider sent from, also if the command asked for ``default``.
    sender_address: str | None
    #: ``DeliveredToNetwork``, ``DeliveryImpossible`` or any other status, unchanged.
    delivery_status: str | None
    http_status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A permanent refusal; a retry does not help."""

    error: ProviderError


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """Certainly not submitted: no request was sent, or the provider answered that it did not accept it."""

    error: ProviderError
    #: Seconds to wait, if the provider asked for it.
    retry_after: float | None = None
    #: Whether the provider throttles the whole account (429 and similar).
    throttled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ambiguous:
    """The request may have been sent, and no valid response came."""

    error: ProviderError


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """The whole account is refused: wrong credentials, not provisioned, suspended, a redirect."""

    error: ProviderError


Answer: TypeAlias = Accepted | Refused | Unsent | Ambiguous | Blocked
