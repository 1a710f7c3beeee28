"""Reconciliation: the decision whether an ambiguous attempt was sent.

The provider has no idempotency key, and its history does not show our ids. A message is therefore recognised by
direction, addresses, text (`bridge.domain.likeness`), time, and an id that no other submission owns (SPEC section 4,
"Reconcile"). If several submissions with one text to one number are in doubt, their messages can't be distinguished:
once all messages had time to appear, as many submissions count as sent as there are messages.

    lookup result   condition                                                   consequence
    Found           a message is ours                                           sent, or undeliverable
    NotInHistory    a complete history, read late enough, in which each         it was not sent
                    message belongs to another submission
    RetryLookup     it is too early, or another call is in flight               another lookup
    Undetermined    the history is cut off, unavailable, or has an unclaimed    unknown
                    message
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from bridge.domain.evidence import Window
from bridge.domain.likeness import Original
from bridge.domain.match_keys import match_key_of
from bridge.domain.unclaimed import sort_out

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.domain.evidence import Doubt, Evidence, HistoryExtract, Other
    from bridge.domain.rules import ReconcileRules

#: The provider's status of a message that will never arrive (wire reference 4.1).
IMPOSSIBLE = "DeliveryImpossible"
#: The share of `reconcile.history_cap` from which on the history is full: a new message drops an old one at once.
NEAR_CAP = 0.5
#: Seconds by which a correct clock may seem to differ: `Date` has whole seconds, and servers update it once a second.
COARSE = 2.0
#: Seconds, beside `reconcile.skew`, by which the time of a message may be off: as above, and it has whole seconds too.
SLACK = COARSE + 1.0
#: Seconds between the attempt and its first lookup, and the minimum between two lookups.
FIRST_LOOKUP = 2.0
#: Seconds between two lookups at most, during the settle window.
FREQUENT_LOOKUP = 10.0
#: Seconds between two lookups at most, while the history is unavailable, or a call does not end.
LONGEST_LOOKUP = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The submission was sent, as this message."""

    message: Evidence


@dataclass(frozen=True, slots=True)
class NotInHistory:
    """The submission was not sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLookup:
    """No decision is possible before `at`, in seconds since the epoch."""

    at: float
    #: Whether it waits only for other submissions: it recognises no unclaimed message as its own.
    recognises_none: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Undetermined:
    """The lookup can't decide, and no further lookup will."""

    reason: str


LookupResult: TypeAlias = Found | NotInHistory | RetryLookup | Undetermined


def window_of(since: float, until: float, rules: ReconcileRules) -> Window:
    """Return the settle window of attempts that began at `since` and ended at `until`."""
    return Window(start=since - rules.skew - SLACK, settled_at=until + rules.settle)


def needs_account_history(reading: HistoryExtract, window: Window) -> bool:
    """Whether older messages of the account, between other numbers, are needed to show that none is missing here.

    A trial account keeps a limited number of messages in all (wire reference 4.3), so those of a pair may be dropped.
    """
    is_late = reading.read_at >= window.settled_at
    return is_late and reading.complete and not _reaches_back(reading, window.start)


def judge_history(
    doubt: Doubt,
    reading: HistoryExtract | None,
    seen: Sequence[Evidence],
    *,
    is_taken: Callable[[str], bool],
    others: Sequence[Other],
    rules: ReconcileRules,
) -> LookupResult:
    """Decide about a submission in doubt, by the history (None: unavailable) and messages `seen` in notifications.

    `is_taken` returns whether a message id belongs to another submission. `others` are all other submissions to the
    destination that may have a message whose id is unknown.
    """
    known = _known(doubt, reading, seen)
    if doubt.message_id in known:
        return Found(message=known[doubt.message_id])
    alike = [other for other in others if other.match_key == doubt.key]
    if any(other.is_calling for other in alike):
        return _while_calling(doubt, alike)
    window, latest = window_of(doubt.since, doubt.until, rules), doubt.now + rules.skew + SLACK
    free = [
        message
        for message in known.values()
        if window.start <= message.sent_at <= latest
        and _is_of_pair(message, doubt)
        and not is_taken(message.message_id)
    ]
    lookup_result = _among_alike(doubt, reading, free, alike, rules)
    if lookup_result is not None:
        return lookup_result
    if reading is None:
        return _without_history(doubt)
    lookup_result = _among_unclaimed(doubt, reading, free, others, rules)
    return _unmatched(doubt, reading, window, rules) if lookup_result is None else lookup_result


def _known(doubt: Doubt, reading: HistoryExtract | None, seen: Sequence[Evidence]) -> dict[str, Evidence]:
    """Return all messages by id. A message that was observed with our text keeps its key if the history alters it."""
    known = {message.message_id: message for message in seen}
    for message in () if reading is None else reading.messages:
        before = known.get(message.message_id)
        is_ours = before is not None and match_key_of(before) == doubt.key
        known[message.message_id] = (
            replace(message, text_key=before.text_key) if before and is_ours else message
        )
    return known


def _among_alike(
    doubt: Doubt,
    reading: HistoryExtract | None,
    free: Sequence[Evidence],
    alike: Sequence[Other],
    rules: ReconcileRules,
) -> LookupResult | None:
    """Decide by the messages with our text, which identical submissions may also have; None if there is no such one."""
    ours, alike = _without_later([m for m in free if match_key_of(m) == doubt.key], doubt, alike, rules)
    candidates = [other for other in alike if other.is_in_doubt or other.submitted]
    if ours and len(ours) <= len(candidates):
        # Too few for all: a submission must not count as absent because another one has taken its message.
        settled_at = max(doubt.until, *(candidate.until for candidate in candidates)) + rules.settle
        read_at = doubt.now if reading is None else reading.read_at
        if read_at < settled_at:
            return RetryLookup(at=_next_lookup(doubt, settled_at))
        # If no message has exactly our spelling, each may belong to another submission, which then takes it.
        decided_at = settled_at if any(map(doubt.spells, ours)) else _looked_by(candidates, settled_at, rules)
        if read_at < decided_at:
            return RetryLookup(at=_next_lookup(doubt, decided_at), recognises_none=True)
    if not doubt.submitted:
        ours = _left_by(candidates, ours, rules.skew + SLACK)
    return Found(message=_best(ours, doubt)) if ours else None


def _among_unclaimed(
    doubt: Doubt,
    reading: HistoryExtract,
    free: Sequence[Evidence],
    others: Sequence[Other],
    rules: ReconcileRules,
) -> LookupResult | None:
    """Decide by the unclaimed messages with other texts; None if no such message can be ours."""
    window, slack = window_of(doubt.since, doubt.until, rules), rules.skew + SLACK
    # Messages from long after the attempt are included: after a clock step, its window may be at any earlier time.
    unclaimed = [message for message in free if match_key_of(message) != doubt.key]
    if doubt.is_suspected:
        # A first send needs no proof of absence: a message with clearly another text is not a repeat of this one.
        original = Original(doubt.text)
        unclaimed = [m for m in unclaimed if m.text is None or original.may_show_as(m.text)]
    left = sort_out(doubt.text, unclaimed, others, before=slack, after=rules.settle + slack)
    if not left.number:
        return None
    if any(other.is_calling for other in left.able) and doubt.now < doubt.give_up_at:
        return _while_calling(doubt, left.able)
    settled_at = max([window.settled_at, *(o.until + rules.settle for o in left.able if not o.is_calling)])
    if len(left.likely) <= len(left.claimants) and reading.read_at < settled_at:
        return RetryLookup(at=_next_lookup(doubt, settled_at))
    sure = sum(other.submitted for other in left.claimants)
    if left.likely and (doubt.submitted or len(left.likely) > sure):
        return Found(message=_best(left.likely, doubt))
    decided_at = _looked_by(left.able, settled_at, rules)
    if reading.read_at < decided_at:
        return RetryLookup(at=_next_lookup(doubt, decided_at), recognises_none=reading.read_at >= settled_at)
    return Undetermined(reason="the provider's history has a message of this time that is of no submission")


def _looked_by(others: Sequence[Other], settled_at: float, rules: ReconcileRules) -> float:
    """Return until when others in doubt may take their messages, each at its next lookup, which some never have."""
    to_come = any(other.is_in_doubt and other.looked_at < settled_at for other in others)
    return settled_at + LONGEST_LOOKUP + rules.settle if to_come else settled_at


def _best(messages: Sequence[Evidence], doubt: Doubt) -> Evidence:
    """Return the message that is most likely ours: first those in our spelling, then the earliest."""
    return min(messages, key=lambda m: (not doubt.spells(m), m.sent_at, m.message_id))


def _unmatched(doubt: Doubt, reading: HistoryExtract, window: Window, rules: ReconcileRules) -> LookupResult:
    """Decide by a history without a message of ours."""
    if reading.read_at < window.settled_at:
        return RetryLookup(at=_next_lookup(doubt, window.settled_at))
    if not doubt.is_suspected and _is_cut_off(reading, window.start, rules.history_cap):
        return Undetermined(reason="the provider's history is cut off")
    latest, original = max(doubt.now, reading.read_at) + rules.skew + SLACK, Original(doubt.text)
    if any(
        message.sent_at > latest
        and (match_key_of(message) == doubt.key or (message.text and original.may_show_as(message.text)))
        for message in reading.messages
    ):
        return Undetermined(reason="the provider's history has a message like it at an impossible time")
    return NotInHistory()


def _without_later(
    messages: Sequence[Evidence], doubt: Doubt, alike: Sequence[Other], rules: ReconcileRules
) -> tuple[list[Evidence], list[Other]]:
    """Return the messages that may be ours, and the other submissions without a message.

    A message from long after our attempt goes to another submission whose attempt fits its time, one each. If no
    attempt fits, it may be ours: the clock may have been set since.
    """
    before, after = rules.skew + SLACK, rules.settle + rules.skew + SLACK
    ours, others = [], sorted(alike, key=lambda other: other.until)
    for message in sorted(messages, key=lambda m: (m.sent_at, m.message_id)):
        at, holder = message.sent_at, None
        if at > doubt.until + after:
            holder = next((o for o in others if o.since - before <= at <= o.until + after), None)
        if holder is None:
            ours.append(message)
        else:
            others.remove(holder)
    return ours, others


def _left_by(candidates: Sequence[Other], messages: Sequence[Evidence], slack: float) -> list[Evidence]:
    """Return the messages without one for each other submission that was certainly sent: the nearest to its attempt."""
    left = list(messages)
    for candidate in sorted(candidates, key=lambda candidate: candidate.until):
        since, until = candidate.since - slack, candidate.until + slack
        near = [message for message in left if since <= message.sent_at <= until]
        if candidate.submitted and near:
            left.remove(min(near, key=lambda message: abs(message.sent_at - candidate.until)))
    return left


def _is_of_pair(message: Evidence, doubt: Doubt) -> bool:
    return message.destination_address == doubt.destination_address and (
        doubt.sender_address is None or message.sender_address in (None, doubt.sender_address)
    )


def _without_history(doubt: Doubt) -> LookupResult:
    if doubt.now >= doubt.give_up_at:
        return Undetermined(reason="the provider's history was unavailable")
    at = doubt.now + _pause(doubt.now - doubt.until, LONGEST_LOOKUP)
    return RetryLookup(at=min(at, max(doubt.give_up_at, doubt.now + FIRST_LOOKUP)))


def _while_calling(doubt: Doubt, others: Sequence[Other]) -> RetryLookup:
    """Wait for calls in flight; one whose command is gone counts as in flight until `retry.max_age` is over."""
    began_at = min(other.since for other in others if other.is_calling)
    return RetryLookup(at=doubt.now + _pause(doubt.now - began_at, LONGEST_LOOKUP))


def _next_lookup(doubt: Doubt, settled_at: float) -> float:
    """Return the next lookup time: at growing intervals, and at the end of the settle window."""
    at = doubt.now + _pause(doubt.now - doubt.until, FREQUENT_LOOKUP)
    return max(min(at, settled_at), doubt.now)


def _pause(waited: float, longest: float) -> float:
    """Return the seconds until the next lookup, as many as have passed so far, within the limits."""
    return max(FIRST_LOOKUP, min(waited, longest))


def _is_cut_off(reading: HistoryExtract, start: float, cap: int) -> bool:
    """Whether messages of the window may be missing: a page was not read, or the account keeps at most `cap`."""
    if not reading.complete:
        return True
    if cap == 0 or _reaches_back(reading, start):
        return False
    return reading.total is None or max(reading.total, len(reading.messages)) >= cap * NEAR_CAP


def _reaches_back(reading: HistoryExtract, start: float) -> bool:
    """Whether the account still has a message from before the window: it drops the oldest first, so none is missing."""
    return reading.oldest_at is not None and reading.oldest_at < start
