"""Events as a person at a terminal reads them. Only for the embedded broker: texts and numbers are shown in full."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {"sms.outbound.sent": "green", "sms.inbound.received": "cyan"}


def show_event(console: Console, body: bytes) -> dict[str, Any]:
    """Print an event in two lines, and return it."""
    event: dict[str, Any] = json.loads(body)
    data = event["data"]
    style = _STYLES.get(event["type"], "yellow")
    console.print(f"\n[bold {style}]● {event['type']}[/]  [dim]{event['time']}  {event['id']}[/]")
    sender, destination = data.get("sender_address"), data.get("destination_address")
    if sender or destination:
        console.print(f"  {sender or '?'} → {destination or '?'}", end="  ", highlight=False)
    console.print(
        repr(data["message"]) if data.get("message") else "", style="bold", markup=False, highlight=False
    )
    return event
