"""The members of the queues on a cluster, for `bridge doctor` and `bridge topology check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.adapters.management import read_members
from bridge.bootstrap import parts
from bridge.core.queue_members import UNSEEN, shortages
from bridge.runtime.examining import fail, ok, skipped, warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bridge.core.queue_members import Shortage
    from bridge.runtime.examining import Finding
    from bridge.settings import Settings


def lacking_members(settings: Settings) -> Sequence[Shortage] | None:
    """Return which queues of ours lack members; None without `broker.management_url`.

    Raises:
        ConnectionError: the management API does not answer.

    """
    url = settings.broker.management_url
    if url is None:
        return None
    nodes, queues = read_members(
        url.get_secret_value(),
        settings.broker.nodes[0].vhost,
        parts.topology(settings).all_queues,
        ca_file=settings.broker.tls_files.ca_file,
    )
    return list(shortages(nodes, queues))


def look_at_members(settings: Settings) -> Iterator[Finding]:
    """Say which queues lack members, or how to see it."""
    found = lacking_members(settings)
    if found is None:
        if len(settings.broker.nodes) > 1:
            yield skipped(UNSEEN)
        return
    for shortage in found:
        judge = fail if shortage.is_down else warn
        yield judge(shortage.seen, shortage.advice)
    if not found:
        yield ok("each queue has its members, and all are online")
