"""The check of `bridge doctor` on each of the broker's addresses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.adapters.amqp.inspection import try_nodes
from bridge.app import parts
from bridge.domain.broker_url import unverified
from bridge.ops.examination import fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Generator

    from bridge.adapters.amqp.handshake import BrokerAddress
    from bridge.domain.broker_url import BrokerNode
    from bridge.ops.examination import CheckResult
    from bridge.settings import Settings


def check_addresses(settings: Settings) -> Generator[CheckResult, None, BrokerAddress]:
    """Report which of several addresses can be used, and which certificates are not checked.

    Returns the address for the further checks: the first usable one, or all if none is usable.
    """
    address = parts.broker_address(settings)
    for location in unverified(address.nodes):
        yield warn(
            f"the certificate of {location} is not checked: verify=verify_none",
            "set broker.ca_file, and remove verify from broker.url",
        )
    if len(address.nodes) == 1:
        return address
    usable: list[BrokerNode] = []
    for node, reason in try_nodes(address):
        if reason is None:
            usable.append(node)
            yield ok(f"{node.location} can be used")
        else:
            yield fail(reason, "correct this address in broker.url, or start the broker there")
    return replace(address, nodes=tuple(usable[:1])) if usable else address
