"""Events as a person at a terminal reads them. Only for the embedded broker: texts and numbers are shown in full."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from bridge.domain.events import value_of
from bridge.domain.printable import to_json, visible

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
    head = Text.assemble(
        "\n",
        (visible(f"● {event['type']}"), f"bold {style}"),
        (visible(f"  {event['time']}  {event['id']}"), "dim"),
    )
    console.print(head)
    sender, destination = value_of(data, "sender_address"), value_of(data, "destination_address")
    message = value_of(data, "message")
    addresses = f"  {sender or '?'} → {destination or '?'}  " if sender or destination else ""
    # A provider's value may be of any type, and may hold any character.
    shown = f"'{message}'" if isinstance(message, str) and message else to_json(message) if message else ""
    console.print(Text.assemble(visible(addresses), (visible(shown), "bold")))
    return event
