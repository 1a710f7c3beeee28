"""From settings to the values that each room is given, those of `command_client` aside."""

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
    """Return what this process is called on the broker."""
    return f"sms-bridge {role} {socket.gethostname()}:{os.getpid()}"


def broker_address(settings: Settings) -> BrokerAddress:
    """Return where the broker is.

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
    """Return where the broker is for a process that stays: the addresses begin with any of them.

    So processes are spread over the nodes, and one node's failure is not everyone's. A command keeps their order.

    Raises:
        SettingsError: as `broker_address` does.

    """
    address = broker_address(settings)
    first = random.randrange(len(address.nodes))  # noqa: S311 - no secret
    return replace(address, nodes=address.nodes[first:] + address.nodes[:first])


def unusable_broker_file(settings: Settings) -> SettingProblem | None:
    """Return what is wrong with the files for encrypted connections to the broker, if anything is."""
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
    """Return how a part of this process connects to the broker; `on_crash` is called where its thread fails."""
    return ConnectionOptions(address, name_of_process(role), clock, on_crash)


def taken_from(section: Section, rules: type[R]) -> R:
    """Return rules whose fields are all in one section, under the same names."""
    taken: R = rules(**{field.name: getattr(section, field.name) for field in fields(rules)})
    return taken


def topology(settings: Settings) -> Topology:
    """Return what is on the broker."""
    broker = settings.broker
    return Topology(
        **asdict(broker.names),
        unrouted_max_length=broker.unrouted_max_length,
        delivery_limit=broker.delivery_limit,
    )


def command_rules(settings: Settings) -> CommandRules:
    """Return how commands are read."""
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
    """Return what makes messages of events."""
    broker = settings.broker
    return partial(outgoing_event, exchange=broker.events_exchange, unrouted_queue=broker.unrouted_queue)
