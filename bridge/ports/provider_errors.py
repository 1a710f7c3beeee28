"""Errors of calls that send nothing. Sends return a value of `bridge.domain.answers` instead.

CpaasError                 base class; `error` has the provider's words, the text has none of them
├── Unreachable            no complete response, or the provider is busy or broken: try again later
├── Unauthorized           the account is refused: wrong credentials, not provisioned, suspended, a redirect
├── CallRefused            the provider refuses this call
│   └── NotFound           the resource does not exist
└── Unreadable             the call succeeded, but the response cannot be parsed

The texts may be logged: they contain no number, no URL and nothing from the provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.domain.error_words import shown_code

if TYPE_CHECKING:
    from bridge.domain.answers import ProviderError


class CpaasError(Exception):
    """A call to the provider failed."""

    def __init__(self, what: str, error: ProviderError) -> None:
        details = " ".join(str(part) for part in (error.http_status, shown_code(error)) if part is not None)
        super().__init__(f"{what} ({details})" if details else what)
        #: The error as events have it; its message may contain numbers and must not be logged.
        self.error = error


class Unreachable(CpaasError):
    """No complete response came, or the provider is busy or broken."""


class Unauthorized(CpaasError):
    """The account is refused as a whole."""


class CallRefused(CpaasError):
    """The provider refuses this call."""


class NotFound(CallRefused):
    """The resource does not exist at the provider."""


class Unreadable(CpaasError):
    """The call succeeded, but its response cannot be parsed."""
