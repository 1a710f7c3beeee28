"""A message on its way to its confirm."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.messages import Outgoing


@dataclass(slots=True)
class Publish:
    """A message that is published until it is confirmed."""

    message: Outgoing
    told: Callable[[], None] = field(repr=False)
    #: When it was last written to the broker, and when it may be: `Clock.monotonic` seconds.
    written_at: float = 0.0
    not_before: float = 0.0
    #: The exchange and routing key it was written with.
    address: tuple[str, str] = ("", "")
    returned: bool = False
    #: How often it was refused, or under way when the connection was lost.
    failures: int = 0
