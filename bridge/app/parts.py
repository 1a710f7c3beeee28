"""Factories of the parts that processes share, from the settings, except those of `command_client`."""

from __future__ import annotations

import os
import random
import socket
from dataclasses import asdict, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from bridge.adapters.amqp.connection_thread import ConnectionOptions
from bridge.adapters.amqp.handshake import BrokerAddress
from bridge.adapters.amqp.tls import TlsFileUnusable, check_files
from bridge.adapters.amqp.topology import Topology
from bridge.domain.commands import CommandRules
from bridge.domain.events import outgoing_event
from bridge.domain.outcomes import EventFormat
from bridge.settings import SettingProblem, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.domain.events import Event
    from bridge.domain.messages import Outgoing
    from bridge.ports import Clock
    from bridge.settings import Settings
    from bridge.settings.sections import Section

R = TypeVar("R", bound=Any)


def name_of_process(role: str) -> str:
    """Return the name of this process on the broker."""
    return f"sms-bridge {role} {socket.gethostname()}:{os.getpid()}"


def broker_address(settings: Settings) -> BrokerAddress:
    """Return the broker's address.

    Raises:
        SettingsError: a file for TLS can't be used on this machine.

    """
    broker = settings.broker
    problem = unusable_broker_file(settings)
    if problem is not None:
        raise SettingsError([problem])
    return BrokerAddress(
        nodes=broker.nodes,
        connect_timeout=broker.connect_timeout,
        heartbeat=float(broker.heartbeat),
    )


def address_of_process(settings: Settings) -> BrokerAddress:
    """Return the broker's address for a long-running process: its nodes begin with a random one.

    This spreads processes over the nodes, so that the failure of a node does not affect all of them. One-shot commands
    keep the configured order.

    Raises:
        SettingsError: as `broker_address` does.

    """
    address = broker_address(settings)
    first = random.randrange(len(address.nodes))  # noqa: S311 - no secret
    return replace(address, nodes=address.nodes[first:] + address.nodes[:first])


def unusable_broker_file(settings: Settings) -> SettingProblem | None:
    """Return the problem with the files for encrypted connections to the broker; None if they can be used."""
    broker = settings.broker
    for node in broker.nodes:
        try:
            check_files([node])
        except TlsFileUnusable as e:
            own = getattr(node.tls.files, e.part) if node.tls else None
            if own is not None and own == getattr(broker.tls_files, e.part):
                return SettingProblem(f"broker.{e.part}", str(e))
            return SettingProblem(
                "broker.url", f"has a parameter whose file can't be used, the {e.part}: it {e}"
            )
    return None


def connection(
    address: BrokerAddress, role: str, clock: Clock, on_crash: Callable[[], None]
) -> ConnectionOptions:
    """Return the connection options of a part of this process; `on_crash` is called if its thread fails."""
    return ConnectionOptions(address, name_of_process(role), clock, on_crash)


def taken_from(section: Section, rules: type[R]) -> R:
    """Return rules whose fields are all in one section under the same names."""
    taken: R = rules(**{field.name: getattr(section, field.name) for field in fields(rules)})
    return taken


def topology(settings: Settings) -> Topology:
    """Return the exchanges and queues on the broker."""
    broker = settings.broker
    return Topology(
        **asdict(broker.names),
        unrouted_max_length=broker.unrouted_max_length,
        delivery_limit=broker.delivery_limit,
    )


def command_rules(settings: Settings) -> CommandRules:
    """Return the rules for parsing commands."""
    return CommandRules(
        allow_missing_id=settings.commands.allow_missing_id,
        max_destinations=settings.commands.max_destinations,
        default_region=settings.addresses.default_region,
        default_sender=settings.cpaas.default_sender,
        unknown_fields=settings.commands.unknown_fields,
    )


def style(settings: Settings) -> EventFormat:
    """Return how events are written."""
    return EventFormat(source=settings.broker.names.source, camel_case=settings.events.camel_case)


def message_maker(settings: Settings) -> Callable[[Event], Outgoing]:
    """Return the function that makes a message from an event."""
    broker = settings.broker
    return partial(outgoing_event, exchange=broker.events_exchange, unrouted_queue=broker.unrouted_queue)
