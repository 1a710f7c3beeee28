"""The account's last known problem, for readiness reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.domain.error_words import shown_code

if TYPE_CHECKING:
    from bridge.domain.answers import ProviderError


class Health:
    """The last known problem of the account; any thread may set and read it."""

    def __init__(self) -> None:
        #: The error of the account's last refusal; None after a call that succeeded since.
        self.error: ProviderError | None = None

    def note_blocked(self, error: ProviderError) -> None:
        """Record that the account was refused as a whole."""
        self.error = error

    def note_success(self, *, sent: bool) -> None:
        """Clear the problem that a successful call disproves.

        A call that sent nothing shows that the credentials work, not that sending is allowed.
        """
        if self.error is not None and (sent or _is_about_credentials(self.error)):
            self.error = None

    @property
    def problem(self) -> str | None:
        """The reason why the account can't be used, without secrets; None if it can."""
        error = self.error
        if error is None:
            return None
        if _is_about_credentials(error):
            reason = "wrong credentials"
        elif error.http_status is not None and 300 <= error.http_status < 400:
            reason = "the provider redirects: the base URL may be wrong"
        else:
            reason = "the account is not provisioned or suspended"
        code = shown_code(error) or error.http_status
        return f"{reason} ({code})" if code is not None else reason


def _is_about_credentials(error: ProviderError) -> bool:
    return error.name == "oauth" or error.http_status == 401
