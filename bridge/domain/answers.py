"""What became of one attempt, as a value.

An attempt is one HTTP call for a submission. Whatever the provider, a proxy or the network did is one of five
answers, and each has one thing that may follow (SPEC section 4):

    Accepted    the provider has it                      -> outcome
    Refused     the provider refused for good            -> outcome
    Unsent      certainly not submitted                  -> another attempt
    Ambiguous   may have been submitted, nobody knows    -> never another attempt unseen
    Blocked     the whole account is refused             -> nothing can be sent; the command waits on the queue
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderError:
    """What the provider or the network said, in the words of the events' ``error`` key (SPEC section 3.2).

    `message` may contain numbers (wire reference 8.1): it belongs in an event, never in a log.
    """

    #: Where it comes from: ``serviceException``, ``policyException``, ``oauth``, ``http``, ``network``, ``timeout``.
    name: str
    #: ``SVC0002``, ``POL1009``, ``invalid_grant`` …, where one was given.
    exception_id: str | None = None
    message: str | None = None
    http_status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A 2xx with delivery info: the provider has the submission."""

    #: The provider's id of the message; None where the answer names none (never sent again even so).
    message_id: str | None
    #: The number it was really sent from, also where ``default`` was asked.
    sender_address: str | None
    #: ``DeliveredToNetwork``, ``DeliveryImpossible`` or any other word, as it came.
    delivery_status: str | None
    http_status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A refusal that no retry will cure."""

    error: ProviderError


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """Certainly not submitted: nothing left us, or the provider said that it did not take it."""

    error: ProviderError
    #: Seconds the provider asked us to wait, where it did.
    retry_after: float | None = None
    #: Whether the provider slows the whole account down (429 and its kin).
    throttled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ambiguous:
    """The request may have left and no valid answer came."""

    error: ProviderError


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """The account is refused as a whole: wrong credentials, not provisioned, suspended, a redirect."""

    error: ProviderError


Answer: TypeAlias = Accepted | Refused | Unsent | Ambiguous | Blocked
