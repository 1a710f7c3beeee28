"""Judges by reports of a queue whether the broker still has us as its consumer. Pure; times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass

#: How long it must seem that we were forgotten: longer than a queue takes to elect another leader (12 s on a busy
#: machine), and than a member that was away takes to catch up, which tells of messages that are long gone.
FORGOTTEN = 15.0
#: How long the reports must show no consumer before we do not count as one: short, since nothing is given up for it.
UNSEEN = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReport:
    """The state of the queue and of our consumer at one moment."""

    at: float
    #: Messages that wait, and consumers. Both are 0 where the queue's leader does not answer.
    messages: int
    consumers: int
    #: Deliveries of this connection so far, and whether there is room for more.
    delivered: int
    has_capacity: bool
    #: Whether we have a consumer, as far as we know.
    consuming: bool


class ConsumerHealth:
    """Judges the reports of one connection."""

    def __init__(self) -> None:
        self._delivered = 0
        #: Since when each report has been a reason for doubt; None where the last was not.
        self._suspect_since: float | None = None
        self._unseen_since: float | None = None

    def is_forgotten(self, report: QueueReport) -> bool:
        """Take a report; return whether the broker has forgotten us: commands wait, and none is delivered.

        An answer of 0 and 0 is no reason: the broker gives it for a queue whose leader is away, and a new leader knows
        us as the old one did.
        """
        is_still = report.consuming and report.delivered == self._delivered
        self._delivered = report.delivered
        self._suspect_since = _since(
            self._suspect_since, report.at, so=is_still and report.has_capacity and report.messages > 0
        )
        self._unseen_since = _since(self._unseen_since, report.at, so=is_still and report.consumers == 0)
        return self._suspect_since is not None and report.at - self._suspect_since >= FORGOTTEN

    def is_unseen(self, now: float) -> bool:
        """Whether the reports have shown no consumer, and nothing was delivered, for longer than a moment."""
        since = self._unseen_since
        return since is not None and now - since >= UNSEEN


def _since(since: float | None, now: float, *, so: bool) -> float | None:
    """Return since when something is so."""
    if not so:
        return None
    return now if since is None else since
