"""Time, traces and progress: what is asked and told beside the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping


#: What a span is, and what may be said of it.
Kind: TypeAlias = Literal["consumer", "client", "producer", "server"]


Value: TypeAlias = "str | int | bool"


class Clock(Protocol):
    """The one source of time."""

    def now(self) -> float:
        """Return the wall clock, in seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start, never going back."""
        ...


class Span(Protocol):
    """A part of a trace, begun and not yet ended."""

    @property
    def traceparent(self) -> str:
        """By which whatever comes of it belongs to it (W3C Trace Context)."""
        ...

    def end(self, attributes: Mapping[str, Value], *, error: str | None = None) -> None:
        """End it, for good: as a failure where there is an `error`, one of a few words. From any thread."""
        ...


class Tracer(Protocol):
    """Tells somebody of spans. Never waits, and never raises for whoever should be told."""

    def begin(self, kind: Kind, name: str, *, parent: str | None, attributes: Mapping[str, Value]) -> Span:
        """Begin a span under the one whose `traceparent` is given, or a trace of its own. From any thread."""
        ...


class Progress(Protocol):
    """Is told how far something long is, by whoever does it."""

    def __call__(self, done: int, total: int | None) -> None:
        """Take note that so many are done, of `total`; None: nobody knows how many there are."""
        ...


def unwatched(done: int, total: int | None) -> None:
    """Fill `Progress` where nobody looks."""
