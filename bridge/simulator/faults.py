"""Faults on demand: which there are, which comes next, and what each does to a reply.

A name that begins with ``accept-`` lets the call have its effect first; that is what makes an attempt ambiguous:

    drop  reset  hang  garbage  status        nothing happened, and this is how the client learns nothing or no
    accept-drop  accept-reset  accept-hang    it happened, and no answer comes
    accept-truncate  -garbage  -drip  -empty  it happened, and the answer can't be read (in time)
    accept-500  -502  -504  -status           it happened, and the answer denies it
    accept-late                               closed without an answer, and it happens ``seconds`` later
    no-message-id  no-id-token                it happened, and the answer lacks a part
    gzip                                      it happened, and the answer is compressed
"""

from __future__ import annotations

import gzip
import json
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from bridge.simulator.alterations import known
from bridge.simulator.http import Manner, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The kinds of call a fault can be for: sends, tokens, reads and deletes of the history, subscriptions and channels.
Target: TypeAlias = Literal["send", "token", "history", "subscriptions"]
TARGETS: tuple[Target, ...] = ("send", "token", "history", "subscriptions")

_MANNERS = {
    "drop": Manner.DROP,
    "reset": Manner.RESET,
    "hang": Manner.HANG,
    "garbage": Manner.GARBAGE,
    "accept-drop": Manner.DROP,
    "accept-reset": Manner.RESET,
    "accept-hang": Manner.HANG,
    "accept-garbage": Manner.GARBAGE,
    "accept-truncate": Manner.TRUNCATE,
    "accept-drip": Manner.DRIP,
    "accept-late": Manner.DROP,
}
_STATUSES = {"accept-500": 500, "accept-502": 502, "accept-504": 504}
_CUTS = {"no-message-id": "resourceURL", "no-id-token": "id_token"}
#: The faults that keep a call from having any effect.
_EFFECTLESS = frozenset({"drop", "reset", "hang", "garbage", "status"})
NAMES = frozenset({*_MANNERS, *_STATUSES, *_CUTS, "status", "accept-status", "empty", "accept-empty", "gzip"})


class Fault(BaseModel):
    """One fault, as `POST /_simulator/faults` takes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    #: Only a send whose text contains this has it, in any order.
    text: str | None = Field(default=None, min_length=1)
    #: How many calls have it.
    times: int = Field(default=1, ge=1)
    #: For `status` and `accept-status`, which need it.
    status: int | None = Field(default=None, ge=200, le=599)
    #: The header, as it is written here: seconds, a date or nonsense.
    retry_after: int | float | str | None = None
    #: A string goes out as it is; anything else as JSON.
    body: object = None
    headers: dict[str, str] = Field(default_factory=dict)
    #: `accept-drip`: between two bytes; `accept-late`: until it happens; `hang`: until the connection is closed.
    seconds: float | None = Field(default=None, ge=0)
    #: How the history and notifications alter the text of what was accepted: a name of `ALTERATIONS`.
    alter: Annotated[str | None, AfterValidator(known)] = None

    @model_validator(mode="after")
    def _is_known(self) -> Fault:
        if self.name not in NAMES:
            raise ValueError(f"name must be one of {', '.join(sorted(NAMES))}")
        if self.name.endswith("status") and self.status is None:
            raise ValueError(f"{self.name} needs a status")
        if self.alter is not None and not self.has_effect:
            raise ValueError(f"{self.name} accepts nothing that alter could show otherwise")
        return self

    @property
    def has_effect(self) -> bool:
        """Whether the call has its effect before the fault shows."""
        return self.name not in _EFFECTLESS

    @property
    def late(self) -> float | None:
        """Seconds after which the effect comes, where it comes late."""
        return (1.0 if self.seconds is None else self.seconds) if self.name == "accept-late" else None

    def distort(self, reply: Reply) -> Reply:
        """Return what becomes of `reply`."""
        if self.name in _MANNERS:
            return replace(reply, manner=_MANNERS[self.name], pace=self.seconds)
        if self.name in _CUTS:
            return replace(
                reply, body=json.dumps(_without(json.loads(reply.body), _CUTS[self.name])).encode()
            )
        if self.name == "gzip":
            return replace(reply, body=gzip.compress(reply.body), headers=(("Content-Encoding", "gzip"),))
        if self.name.endswith("empty"):
            return replace(reply, body=b"")
        return self._denial(reply)

    def _denial(self, reply: Reply) -> Reply:
        headers = dict(self.headers)
        content_type = headers.pop("Content-Type", "application/json")
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        body = b"" if self.body is None else _text(self.body).encode()
        return replace(
            reply,
            status=self.status or _STATUSES[self.name],
            body=body,
            content_type=content_type,
            headers=tuple(headers.items()),
        )


_ENTRIES: TypeAdapter[list[Fault | None]] = TypeAdapter(list[Fault | None])


def parse_faults(body: bytes) -> list[Fault | None]:
    """Return the faults that a request names.

    Raises:
        pydantic.ValidationError: not an array of faults and nulls.

    """
    return _ENTRIES.validate_json(body)


@dataclass(slots=True)
class FaultPlan:
    """The faults that are still to come."""

    _ordered: dict[Target, deque[Fault | None]] = field(
        default_factory=lambda: {target: deque() for target in TARGETS}
    )
    _keyed: list[list[Fault]] = field(default_factory=list)

    def add(self, target: Target, entries: list[Fault | None]) -> None:
        """Put `entries` behind those that wait already: one for each next call, or each for its text."""
        for entry in entries:
            if entry is not None and entry.text is not None:
                self._keyed.append([entry] * entry.times)
            else:
                self._ordered[target].extend([entry] * (entry.times if entry else 1))

    def take(self, target: Target, body: bytes, stall: Mapping[Target, Fault]) -> Fault | None:
        """Return the fault of this call and forget it: one for its text, else the next, else the standing one."""
        text = body.decode("utf-8", "replace") if self._keyed else ""
        for faults in self._keyed:
            if _names(faults[0].text or "", text):
                fault = faults.pop()
                self._keyed = [rest for rest in self._keyed if rest]
                return fault
        if self._ordered[target]:
            return self._ordered[target].popleft()
        return stall.get(target)

    def waiting(self) -> int:
        """Return how many calls still have an entry, `null` ones included."""
        return sum(map(len, self._ordered.values())) + sum(map(len, self._keyed))


def _without(value: object, key: str) -> object:
    if isinstance(value, dict):
        return {name: _without(inner, key) for name, inner in value.items() if name != key}
    return value


def _names(text: str, body: str) -> bool:
    """Return whether `text` is in a JSON `body`, escaped or not."""
    return text in body or json.dumps(text)[1:-1] in body


def _text(body: object) -> str:
    return body if isinstance(body, str) else json.dumps(body)
