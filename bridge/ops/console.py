"""Console output of events, for the embedded broker only: texts and phone numbers are shown in full."""

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


class EventConsole(Console):
    """Console that reports a closed pipe; rich would end the thread that has just written."""

    def __init__(self, left: Callable[[], None]) -> None:
        """`left` is called once the reader has closed the pipe; nothing is written afterwards."""
        super().__init__(soft_wrap=True)
        self._left = left

    def on_broken_pipe(self) -> None:
        """Stop writing and report it."""
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
