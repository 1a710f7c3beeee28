"""The ports for time, traces and progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping


#: The kind of a span, and the types of its attributes.
Kind: TypeAlias = Literal["consumer", "client", "producer", "server"]


Value: TypeAlias = "str | int | bool"


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> float:
        """Return the wall clock, in seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Return the seconds since an arbitrary start, which never go back."""
        ...


class Span(Protocol):
    """An open span of a trace."""

    @property
    def traceparent(self) -> str:
        """The context for child spans (W3C Trace Context)."""
        ...

    def end(self, attributes: Mapping[str, Value], *, error: str | None = None) -> None:
        """End the span, as a failure if there is an `error` (one of a few words). From any thread."""
        ...


class Tracer(Protocol):
    """Creates spans. Never blocks, and never raises if the spans cannot be exported."""

    def begin(self, kind: Kind, name: str, *, parent: str | None, attributes: Mapping[str, Value]) -> Span:
        """Begin a span under the `parent` (a traceparent), or a new trace without one. From any thread."""
        ...


class Progress(Protocol):
    """Receives the progress of a long operation."""

    def __call__(self, done: int, total: int | None) -> None:
        """Report that `done` of `total` are done; None stands for an unknown total."""
        ...


def unwatched(done: int, total: int | None) -> None:
    """Implement `Progress` by ignoring it."""
