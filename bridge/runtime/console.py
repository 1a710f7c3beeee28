"""Events as a person at a terminal reads them. Only for the embedded broker: texts and numbers are shown in full."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable

_STYLES = {"sms.outbound.sent": "green", "sms.inbound.received": "cyan"}


class Screen(Console):
    """A console that reports when nobody reads it any more; rich would end whichever thread has just written."""

    def __init__(self, left: Callable[[], None]) -> None:
        """Call `left` when whoever read is gone; nothing is written from then on."""
        super().__init__(soft_wrap=True)
        self._left = left

    def on_broken_pipe(self) -> None:
        """Fall silent, and say so."""
        with contextlib.suppress(SystemExit):
            super().on_broken_pipe()
        self._left()


def show_event(console: Console, body: bytes) -> dict[str, Any]:
    """Print an event in two lines, and return it."""
    event: dict[str, Any] = json.loads(body)
    data = event["data"]
    style = _STYLES.get(event["type"], "yellow")
    console.print(f"\n[bold {style}]● {event['type']}[/]  [dim]{event['time']}  {event['id']}[/]")
    sender, destination = data.get("sender_address"), data.get("destination_address")
    if sender or destination:
        console.print(f"  {sender or '?'} → {destination or '?'}", end="  ", markup=False, highlight=False)
    console.print(
        repr(data["message"]) if data.get("message") else "", style="bold", markup=False, highlight=False
    )
    return event
