"""How the simulator behaves: what it owns, how slow, how forgetful and how stubborn it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from bridge.simulator.alterations import known
from bridge.simulator.faults import Fault, Target

#: Settings that are fixed at the start, and that no request may change.
FIXED = frozenset({"journal", "external_webhooks", "user_id", "numbers"})


class SimulatorSettings(BaseModel):
    """Every default is what a paid account of the provider shows. All times are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The numbers of the account; the first is the default number.
    numbers: tuple[Annotated[str, Field(pattern=r"^\+?[0-9]{3,15}$")], ...] = ("+16139998877", "+16139998878")
    #: The `preferred_username` of every token, and so the user in every path.
    user_id: str = "e33c51d7-6585-4aee-88ae-005dfae1fd3b"
    #: A file for the accepted sends, appended to and read again at start; None keeps them in memory alone.
    journal: Path | None = None
    #: Whether webhooks beyond the loopback may be posted to.
    external_webhooks: bool = False
    #: How long a connection may idle before it is closed; 0 closes after each answer.
    keep_alive: float = Field(default=15.0, ge=0)

    #: From the acceptance of a send to its answer.
    latency: float = Field(default=0.0, ge=0)
    #: The same for the token endpoint.
    token_latency: float = Field(default=0.0, ge=0)
    #: `exp - iat` of the tokens; the provider's live for 8 h.
    token_lifetime: float = Field(default=28_800.0, gt=0)
    #: `ignore` as the provider does, `dedupe` as OMA says: a correlator seen before is a 409 SVC0005.
    correlator: Literal["ignore", "dedupe"] = "ignore"

    #: From the acceptance of a message to its first sight in the history.
    lag: float = Field(default=0.0, ge=0)
    #: The most a page of the history holds, even if `max` asks for more.
    page_limit: int = Field(default=1000, ge=1)
    #: How many messages the account keeps, the oldest going first; None for all, 1000 on trial accounts.
    history_cap: int | None = Field(default=None, ge=1)
    #: How texts are altered in the history and in notifications: a name of `ALTERATIONS`; None shows them as they are.
    alter: Annotated[str | None, AfterValidator(known)] = None
    #: `mixed` as the provider's fixtures: threads and message events in ms, the rest in s.
    units: Literal["mixed", "s", "ms"] = "mixed"
    #: From the acceptance to `DeliveredToTerminal`; None leaves it at `DeliveredToNetwork`.
    delivered_after: float | None = Field(default=None, ge=0)

    #: How often a notification is posted until it is answered 2xx; 1 is without a retry.
    notify_attempts: int = Field(default=30, ge=1)
    #: The first pause between two of them, doubling to 25 times itself.
    notify_backoff: float = Field(default=0.2, ge=0)
    #: How many times each notification is posted altogether, for duplicates.
    notify_copies: int = Field(default=1, ge=1)
    #: From the event to its first post.
    notify_delay: float = Field(default=0.0, ge=0)
    #: Up to how much longer each post waits, by chance: this is what changes their order.
    notify_jitter: float = Field(default=0.0, ge=0)
    #: How long a webhook may take to answer.
    notify_timeout: float = Field(default=10.0, gt=0)

    #: Faults that last until they are taken out again, for each kind of call.
    failing: dict[Target, Fault] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _own_a_number(self) -> Self:
        if not self.numbers:
            raise ValueError("an account owns at least one number")
        return self

    def changed(self, changes: dict[str, object]) -> SimulatorSettings:
        """Return the settings with `changes` in place.

        Raises:
            ValueError: a key is unknown or fixed, or a value is not valid.

        """
        if fixed := FIXED & changes.keys():
            raise ValueError(f"fixed at start: {', '.join(sorted(fixed))}")
        current = {name: getattr(self, name) for name in type(self).model_fields}
        return SimulatorSettings.model_validate(current | changes)
