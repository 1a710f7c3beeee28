"""What a call that sends nothing can end in. Sends end in a value of `bridge.domain.answers` instead.

CpaasError                 any of these; `error` has the provider's words, the text has none of them
├── Unreachable            no whole answer came, or the provider is busy or broken: try again later
├── Unauthorized           the account is refused: wrong credentials, not provisioned, suspended, a redirect
├── Refused                the provider refuses this call
│   └── NotFound           there is no such thing
└── Unreadable             the answer is fine, but nobody can read it

Their texts may be logged: no number, no URL, no word of the provider's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.domain.error_words import shown_code

if TYPE_CHECKING:
    from bridge.domain.answers import ProviderError


class CpaasError(Exception):
    """A call to the provider came to nothing."""

    def __init__(self, what: str, error: ProviderError) -> None:
        details = " ".join(str(part) for part in (error.http_status, shown_code(error)) if part is not None)
        super().__init__(f"{what} ({details})" if details else what)
        #: In the words of events; its message may contain numbers and must not be logged.
        self.error = error


class Unreachable(CpaasError):
    """No whole answer came, or the provider is busy or broken."""


class Unauthorized(CpaasError):
    """The account is refused as a whole."""


class CallRefused(CpaasError):
    """The provider refuses this call."""


class NotFound(CallRefused):
    """There is no such thing at the provider."""


class Unreadable(CpaasError):
    """The call went well, but its answer can't be read."""
