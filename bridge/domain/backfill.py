"""Backfill: the inbound messages of the provider's history that no webhook delivered.

A lost webhook may be older than one that was received, so the time of the last notification does not matter. Each
number has a high-water mark instead, the time until which its history was read completely. Reading starts there, less
an overlap. Messages that a webhook delivered are recognized by their event ids.
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

#: The key of the account's watermark, used for numbers without one: the list of threads was complete until then.
ACCOUNT = ""
INBOUND = "inbound"
#: Seconds after which a webhook that has not come counts as missing.
GRACE = 60.0
#: Seconds that a message's time may be in the future; later times are invalid (wire reference 4.3).
AHEAD = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUpRules:
    """The range of the history that is read. All values are in seconds."""

    #: The range without a watermark.
    lookback: float
    #: The range before the watermark, for messages that appear late and for clock skew.
    overlap: float
    #: Older messages may have been deleted from the ledger, and would look new.
    retention: float
    #: Younger messages are left to the next round, since their webhooks may still come.
    grace: float = GRACE


def begins(number: str, watermarks: Mapping[str, float], *, now: float, rules: CatchUpRules) -> float:
    """Return the time from which the messages of an own number are read, in seconds since the epoch."""
    watermark = watermarks.get(number, watermarks.get(ACCOUNT))
    if watermark is None:
        return now - rules.lookback
    if watermark > now:
        # Set by a clock that was ahead, so it is not known how far the history was read.
        return now - max(rules.lookback, rules.overlap)
    return watermark - rules.overlap


def may_have_news(thread: KeptThread, since: float) -> bool:
    """Return whether a thread has to be read: unless its last message is certainly older than `since`."""
    return thread.last_message_at is None or thread.last_message_at >= since


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMessages:
    """The inbound messages of a thread."""

    #: The messages by event id, the oldest first.
    old: Mapping[str, Notification]
    #: For each event id, the id that its webhook noted regardless of its text.
    likeness: Mapping[str, str]
    #: The event ids of messages within the grace period.
    young: Set[str]
    #: The number of messages without a time.
    undated: int


def inbound(messages: Iterable[KeptMessage], since: float, until: float, *, now: float) -> FoundMessages:
    """Return the inbound messages from `since` on; messages after `until` are young.

    Messages without a time are skipped: the ledger could not know when they may be deleted, and they would be published
    again and again. Outbound messages are skipped too: the bridge's have outcomes, and consumers do not expect others.
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
    """Return the event ids of the messages that no webhook delivered; `known` are the ids that the ledger has noted.

    The history may show a text that differs from the webhook's. So a message also counts as delivered if a webhook
    delivered a message with the same id and numbers and a text that this history does not show.
    """
    shown = {found.likeness[id_] for id_ in found.likeness if id_ in known}
    altered = {alike for alike in found.likeness.values() if alike in known and alike not in shown}
    return {id_ for id_, alike in found.likeness.items() if id_ not in known and alike not in altered}


def events_for(
    found: Mapping[str, Notification], lacking: Collection[str], *, source: str, time: float, camel_case: bool
) -> Sequence[Event]:
    """Return the events of the messages whose ids are in `lacking`. `time` is in seconds since the epoch."""
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

    `whole` contains for each number whether all its threads were read completely, `listed` whether the list of threads
    was complete. A number that was not read completely keeps its watermark, or gets the account's old one, since the
    account's advances. Young messages stay after all watermarks.
    """
    account = watermarks.get(ACCOUNT, now - rules.lookback)
    until = now - rules.grace
    after = {number: until if read else watermarks.get(number, account) for number, read in whole.items()}
    return {**after, ACCOUNT: until} if listed else {}
