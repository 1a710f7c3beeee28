"""The hosts of the configured addresses, which logs do not mask as phone numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bridge.domain.ledger_url import PostgresDatabase, read_ledger_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.settings.model import Settings


def configured_hosts(settings: Settings) -> frozenset[str]:
    """Return the names and addresses of all hosts in the settings, and their short names."""
    hosts = {host for host in _named(settings) if host}
    # RabbitMQ names a node by the first part of its host's name.
    return frozenset(hosts | {host.partition(".")[0] for host in hosts if not host[0].isdigit()})


def _named(settings: Settings) -> Iterator[str]:
    for node in settings.broker.nodes:
        yield node.host
    ledger = read_ledger_url(settings.ledger.url.get_secret_value())
    if isinstance(ledger, PostgresDatabase):
        for name in ("host", "hostaddr"):
            yield from ledger.parameters.get(name, "").split(",")
    urls = (settings.broker.management_url, settings.cpaas.proxy, settings.subscriptions.webhook_url)
    for url in (*(url.get_secret_value() for url in urls if url is not None), settings.cpaas.base_url):
        yield urlsplit(url or "").hostname or ""
