"""Queue members on a cluster, for `bridge doctor` and `bridge topology check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bridge.adapters.management import read_members
from bridge.app import parts
from bridge.domain.queue_members import UNSEEN, shortages, unseen
from bridge.ops.examination import fail, ok, skipped, warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bridge.domain.queue_members import Shortage
    from bridge.ops.examination import CheckResult
    from bridge.settings import Settings


#: A queue is shown without members for some seconds after it was declared.
_CHECK = (
    "try again in 10 s, or run `rabbitmqctl list_queues --vhost VHOST name type members online` on a node"
)


class Members(NamedTuple):
    """The members of the bridge's queues, as the management API reports them."""

    shortages: Sequence[Shortage]
    #: The queues that were not listed, and advice; None if all were listed.
    unseen: tuple[str, str] | None


def look_up_members(settings: Settings) -> Members | None:
    """Return which of the bridge's queues lack members; None without `broker.management_url`.

    Raises:
        ConnectionError: the management API does not answer.

    """
    url = settings.broker.management_url
    if url is None:
        return None
    expected = parts.topology(settings).all_queues
    nodes, queues = read_members(
        url.get_secret_value(),
        settings.broker.nodes[0].vhost,
        expected,
        ca_file=settings.broker.tls_files.ca_file,
    )
    lacking = unseen(expected, queues)
    return Members(list(shortages(nodes, queues)), (lacking, _CHECK) if lacking else None)


def check_members(settings: Settings) -> tuple[Sequence[str], str | None]:
    """Return a line for each shortage of members, and which queues' members were not checked, or None.

    Raises:
        ConnectionError: the management API does not answer, so that nothing was checked.

    """
    found = look_up_members(settings)
    if found is None:
        return [], UNSEEN if len(settings.broker.nodes) > 1 else None
    lines = [f"{shortage.seen}: {shortage.advice}" for shortage in found.shortages]
    return lines, ": ".join(found.unseen) if found.unseen else None


def examine_members(settings: Settings) -> Iterator[CheckResult]:
    """Report which queues lack members, or how to find out."""
    found = look_up_members(settings)
    if found is None:
        if len(settings.broker.nodes) > 1:
            yield skipped(UNSEEN)
        return
    for shortage in found.shortages:
        judge = fail if shortage.is_down else warn
        yield judge(shortage.seen, shortage.advice)
    if found.unseen:
        yield warn(*found.unseen)
    elif not found.shortages:
        yield ok("each queue has its members, and all are online")
