"""What no webhook brought, found in the provider's message history: which threads to read, and what they come to.

A lost webhook may lie before others that came, so the time of the last notification says nothing. Each number has a
watermark instead, until when its history was read whole; reading starts there, less an overlap, and what webhooks did
bring meanwhile is told by its event id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.domain.events import event_id
from bridge.domain.notification_events import to_event
from bridge.domain.notifications import recovered_notification

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence, Set

    from bridge.domain.events import Event
    from bridge.domain.history import KeptMessage, KeptThread
    from bridge.domain.notifications import Notification

#: Whose watermark counts for numbers without one of their own: the list of threads was read whole until then.
ACCOUNT = ""
INBOUND = "inbound"
#: Seconds in which a webhook has come, or something holds it up.
GRACE = 60.0
#: Seconds that a message's time may be ahead of ours; beyond it is no time at all (wire reference 4.3).
AHEAD = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUpRules:
    """How far back the history is read. All in seconds."""

    #: Where it was never read before.
    lookback: float
    #: Before the watermark: what the history showed late, and clocks that differ.
    overlap: float
    #: What is older may have been forgotten, and would be taken for new.
    retention: float
    #: What is younger is left to the next round: its webhook may be under way.
    grace: float = GRACE


def begins(number: str, watermarks: Mapping[str, float], *, now: float, rules: CatchUpRules) -> float:
    """Return from when on the messages of a number of ours are to be read, in seconds since the epoch."""
    watermark = watermarks.get(number, watermarks.get(ACCOUNT))
    if watermark is None:
        return now - rules.lookback
    if watermark > now:
        # Set by a clock that was ahead, so nobody knows how far the history was read.
        return now - max(rules.lookback, rules.overlap)
    return watermark - rules.overlap


def may_have_news(thread: KeptThread, since: float) -> bool:
    """Return whether a thread is to be read: all but those whose last message is older for certain."""
    return thread.last_message_at is None or thread.last_message_at >= since


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMessages:
    """The inbound messages of a thread."""

    #: By their event ids, the oldest first.
    old: Mapping[str, Notification]
    #: Of each event id, the one that its webhook left whatever text it had.
    likeness: Mapping[str, str]
    #: The event ids of those that are too young to be missed.
    young: Set[str]
    #: How many have no time.
    undated: int


def inbound(messages: Iterable[KeptMessage], since: float, until: float, *, now: float) -> FoundMessages:
    """Return the inbound messages from `since` on; those after `until` are young.

    Those without a time are passed over: nobody could tell when they have been forgotten, and they would come back
    again and again. Outbound ones are, too: what was sent by us has its outcome, and no consumer waits for the rest.
    """
    ours = [message for message in messages if message.direction == INBOUND]
    dated = [
        (message.at, message) for message in ours if message.at is not None and message.at <= now + AHEAD
    ]
    old: dict[str, Notification] = {}
    likeness: dict[str, str] = {}
    young: set[str] = set()
    for at, message in sorted(dated, key=lambda pair: pair[0]):
        if at >= since:
            notification = recovered_notification(
                date_time=message.date_time,
                destination_address=message.local_address,
                message=message.text,
                message_id=message.message_id,
                sender_address=message.remote_address,
            )
            id_ = event_id(*notification.identity)
            likeness[id_] = notification.likeness
            if at > until:
                young.add(id_)
            else:
                old[id_] = notification
    return FoundMessages(old=old, likeness=likeness, young=young, undated=len(ours) - len(dated))


def missing(found: FoundMessages, known: Collection[str]) -> set[str]:
    """Return the event ids of the messages that no webhook brought; `known` are the ids that the ledger has noted.

    The history may show a text that differs from the webhook's. So a message counts as brought, too, where a webhook
    brought one of its id and numbers with a text that this history does not show.
    """
    shown = {found.likeness[id_] for id_ in found.likeness if id_ in known}
    altered = {alike for alike in found.likeness.values() if alike in known and alike not in shown}
    return {id_ for id_, alike in found.likeness.items() if id_ not in known and alike not in altered}


def events_for(
    found: Mapping[str, Notification], lacking: Collection[str], *, source: str, time: float, camel_case: bool
) -> Sequence[Event]:
    """Return the events of those whose ids are `lacking`. `time` is in seconds since the epoch."""
    return [
        to_event(notification, source=source, time=time, camel_case=camel_case)
        for id_, notification in found.items()
        if id_ in lacking
    ]


def advanced(
    watermarks: Mapping[str, float],
    whole: Mapping[str, bool],
    *,
    listed: bool,
    now: float,
    rules: CatchUpRules,
) -> dict[str, float]:
    """Return the watermarks after a round that began at `now`.

    `whole` says of each number whether all its threads were read whole, `listed` whether all threads were known. A
    number that was not keeps the mark it had, also where that was the account's, which goes on without it. What was too
    young is not behind any mark.
    """
    account = watermarks.get(ACCOUNT, now - rules.lookback)
    until = now - rules.grace
    after = {number: until if read else watermarks.get(number, account) for number, read in whole.items()}
    return {**after, ACCOUNT: until} if listed else {}
