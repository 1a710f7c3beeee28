"""Use cases of the one-shot commands."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from bridge.adapters.amqp.one_shot import OneShot
from bridge.adapters.clock import SystemClock
from bridge.app import parts
from bridge.app.required import require
from bridge.domain.command_parser import parse_command
from bridge.domain.commands import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bridge.adapters.cpaas.client import CpaasClient
    from bridge.adapters.cpaas.history import MessageHistory
    from bridge.settings import Settings


def refusals(settings: Settings, command: Mapping[str, object]) -> Sequence[str]:
    """Return the reasons why a worker with these settings would refuse a command; empty if it would send it."""
    body = json.dumps(command).encode()
    parsed = parse_command(body, None, rules=parts.command_rules(settings), now=SystemClock().now())
    return parsed.reasons if isinstance(parsed, Malformed) else ()


def send(
    settings: Settings, command: Mapping[str, object], wait: float | None
) -> Sequence[Mapping[str, Any]]:
    """Publish a command, confirmed; return the outcome events that came within `wait` seconds, if any.

    Raises:
        ConnectionError: the broker did not confirm it.

    """
    destinations = command["destination_address"]
    outcomes = len(destinations) if isinstance(destinations, list) else 1
    return _broker(settings).send(command, outcomes=outcomes, wait=wait)


def tail_events(
    settings: Settings, keys: Sequence[str], skipped: Callable[[str], None]
) -> Iterator[Mapping[str, Any]]:
    """Yield events as they are published, from now on, whose type matches one of the binding `keys`.

    `skipped` is called with one line for each message that is not an event.
    """
    return _broker(settings).tail(keys, skipped)


def waiting_commands(settings: Settings) -> int | None:
    """Return how many commands wait on the command queue; None if the broker is not configured or not reachable."""
    if settings.broker.url is None:
        return None
    try:
        return _broker(settings).waiting()
    except ConnectionError:
        return None


def declare_topology(settings: Settings) -> Sequence[str]:
    """Declare missing exchanges and queues on the broker; return the names of all that exist now."""
    return _broker(settings).declare()


def check_topology(settings: Settings) -> Sequence[str]:
    """Return missing and different exchanges and queues on the broker, one line each."""
    return _broker(settings).differences()


def cpaas_client(settings: Settings) -> CpaasClient:
    """Return a client of the configured account."""
    # Not at the top: a command that publishes needs neither the provider's client nor its log.
    from bridge.app import command_client
    from bridge.app.log import configure_log

    require(settings, account=True)
    # On stderr: on stdout stands what a program reads.
    configure_log(settings)
    return command_client.client(command_client.account(settings), settings, SystemClock(), threading.Event())


def message_history(settings: Settings) -> MessageHistory:
    """Return the messages that the provider keeps for the configured account."""
    return cpaas_client(settings).history


def _broker(settings: Settings) -> OneShot:
    require(settings, broker=True)
    return OneShot(
        parts.broker_address(settings),
        parts.topology(settings),
        SystemClock(),
        declares=settings.broker.declare,
    )
