"""From a method and a path to the endpoint that answers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bridge.simulator.errors import ApiError
from bridge.simulator.http import Reply

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.simulator.faults import Target


#: Answers a request, given it and the parts of the path that the template leaves open; raises refusals as ApiError.
Handler: TypeAlias = Callable[..., Reply]


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint. In its template ``{}`` stands for any one part of the path."""

    method: str
    template: str
    handler: Handler
    #: The kind of call, for the provider's own paths; None for the simulator's.
    target: Target | None = None


class Router:
    """The endpoints, by the length of their paths."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_length: dict[int, list[tuple[tuple[str, ...], Route]]] = {}
        for route in routes:
            template = tuple(route.template.split("/"))
            self._by_length.setdefault(len(template), []).append((template, route))

    def find(self, method: str, parts: tuple[str, ...]) -> tuple[Route, tuple[str, ...]]:
        """Return the endpoint for a request and what its template captured.

        Raises:
            ApiError: a 404, or a 405 that says what is allowed.

        """
        allowed = []
        for template, route in self._by_length.get(len(parts), ()):
            if all(wanted in ("{}", part) for wanted, part in zip(template, parts, strict=True)):
                if route.method == method:
                    captured = (part for wanted, part in zip(template, parts, strict=True) if wanted == "{}")
                    return route, tuple(captured)
                allowed.append(route.method)
        if allowed:
            raise ApiError(Reply(status=405, headers=(("Allow", ", ".join(sorted(allowed))),)))
        raise ApiError(Reply(status=404))
