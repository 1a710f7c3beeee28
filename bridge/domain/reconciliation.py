"""Was it sent? What the provider's history, its notifications and our own records say of an ambiguous attempt.

The provider has no idempotency key and its history no trace of ours, so a message is known by what it is: outbound,
the pair of addresses, the text, the time, and an id that no other submission owns (SPEC section 4, "Reconcile"). Texts
are compared in their normal form (`bridge.domain.likeness`). Where several submissions of one text to one number are in
doubt at once, whose message is whose can't be told, and need not be: as many are sent as there are messages, once all
of them had the time to show.

    found         a message that is ours                          -> sent, or undeliverable
    absent        a whole history, read late enough, in which     -> it was not sent
                  each message belongs to another submission
    look again    not yet, or another call is under way           -> another look
    cannot tell   the history is cut off, or was never to be had, -> unknown
                  or has a message that belongs to no submission
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

#: The provider's word for a message that will never arrive (wire reference 4.1).
IMPOSSIBLE = "DeliveryImpossible"
#: The share of what an account keeps from which on it counts as full: what has just come in drops something else, and
#: shows only later.
NEAR_CAP = 0.5
#: Seconds that the provider's clock may seem to differ by itself: its `Date` has no fractions, and servers make it once
#: a second.
COARSE = 2.0
#: Seconds beside `reconcile.skew` that a message's time may be off: as above, and it has no fractions either.
SLACK = COARSE + 1.0
#: Seconds until the first look after the attempt, and the least between two looks.
FIRST_LOOKUP = 2.0
#: Seconds between two looks at most, until the provider had its time to show what it has.
FREQUENT_LOOKUP = 10.0
#: Seconds between two looks at most, while the history is not to be had, or a call does not end.
LONGEST_LOOKUP = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """It was sent: this is the message."""

    message: Evidence


@dataclass(frozen=True, slots=True)
class NotInHistory:
    """It was not sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLookup:
    """Nothing can be said before `at`."""

    at: float
    #: Whether only others keep it waiting: of the messages that belong to no submission it recognises none as its own.
    recognises_none: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Undetermined:
    """Nobody knows, and no further look will help."""

    reason: str


LookupResult: TypeAlias = Found | NotInHistory | RetryLookup | Undetermined


def window_of(since: float, until: float, rules: ReconcileRules) -> Window:
    """Return the window of attempts that began at `since` and ended at `until`."""
    return Window(start=since - rules.skew - SLACK, settled_at=until + rules.settle)


def hangs_on_account(reading: HistoryExtract, window: Window) -> bool:
    """Whether only what the account has in other threads can show that this one lacks nothing.

    A trial account keeps so many messages in all (wire reference 4.3): a thread of two may have been a longer one.
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
    """Say what is known. `reading` is None where the history was not to be had; `seen` came by notification.

    `is_taken` says whether a message id belongs to another submission. `others` are all other submissions to the
    destination that may have a message whose id is not known.
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
    return _without_trace(doubt, reading, window, rules) if lookup_result is None else lookup_result


def _known(doubt: Doubt, reading: HistoryExtract | None, seen: Sequence[Evidence]) -> dict[str, Evidence]:
    """Return all messages by id; of one that was seen as ours, and is shown otherwise, its key stays ours."""
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
    """Say what messages of our text tell, which other submissions may have as well; None: none of them is ours."""
    ours, alike = _without_later([m for m in free if match_key_of(m) == doubt.key], doubt, alike, rules)
    candidates = [other for other in alike if other.is_in_doubt or other.submitted]
    if ours and len(ours) <= len(candidates):
        # Too few for all: a message that is late to show must not look absent because another one was taken for it.
        settled_at = max(doubt.until, *(candidate.until for candidate in candidates)) + rules.settle
        read_at = doubt.now if reading is None else reading.read_at
        if read_at < settled_at:
            return RetryLookup(at=_next_lookup(doubt, settled_at))
        # None in our spelling: each may have the one of another submission, which then takes it.
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
    """Say what messages tell that no submission owns and whose texts are not ours; None: none of them can be ours."""
    window, slack = window_of(doubt.since, doubt.until, rules), rules.skew + SLACK
    # Also those of long after the attempt: where the clock was set, its window may lie anywhere before now.
    strange = [message for message in free if match_key_of(message) != doubt.key]
    if doubt.is_suspected:
        # It is no resend that needs proof: a message of clearly another text says nothing of a repeat of this one.
        original = Original(doubt.text)
        strange = [m for m in strange if m.text is None or original.may_show_as(m.text)]
    left = sort_out(doubt.text, strange, others, before=slack, after=rules.settle + slack)
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
    """Return until when to wait for those in doubt to take their own messages, each at its first look then.

    One may have no look any more.
    """
    to_come = any(other.is_in_doubt and other.looked_at < settled_at for other in others)
    return settled_at + LONGEST_LOOKUP + rules.settle if to_come else settled_at


def _best(messages: Sequence[Evidence], doubt: Doubt) -> Evidence:
    """Return the message that is most likely ours: one in our spelling, then the earliest."""
    return min(messages, key=lambda m: (not doubt.spells(m), m.sent_at, m.message_id))


def _without_trace(
    doubt: Doubt, reading: HistoryExtract, window: Window, rules: ReconcileRules
) -> LookupResult:
    """Say what a history tells in which it is not."""
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
    """Return our messages but for later ones that the attempts of others fit, one each, and the others that have none.

    Where it fits no attempt it may be ours: the clock may have been set since.
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
    """Return the messages that are left when each rival that was submitted has one, the nearest to its attempt."""
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
        return Undetermined(reason="the provider's history was not to be had")
    at = doubt.now + _pause(doubt.now - doubt.until, LONGEST_LOOKUP)
    return RetryLookup(at=min(at, max(doubt.give_up_at, doubt.now + FIRST_LOOKUP)))


def _while_calling(doubt: Doubt, others: Sequence[Other]) -> RetryLookup:
    """Wait for calls to end; one whose command is gone stays under way until `retry.max_age` is over."""
    began_at = min(other.since for other in others if other.is_calling)
    return RetryLookup(at=doubt.now + _pause(doubt.now - began_at, LONGEST_LOOKUP))


def _next_lookup(doubt: Doubt, settled_at: float) -> float:
    """Look less and less often, and once more when the window is over. A notification may tell at any time."""
    at = doubt.now + _pause(doubt.now - doubt.until, FREQUENT_LOOKUP)
    return max(min(at, settled_at), doubt.now)


def _pause(waited: float, longest: float) -> float:
    """Return the seconds until another look by those that it has waited so far: looks come less and less often."""
    return max(FIRST_LOOKUP, min(waited, longest))


def _is_cut_off(reading: HistoryExtract, start: float, cap: int) -> bool:
    """Whether messages of the window may be missing, for want of a page or because the account keeps `cap` at most."""
    if not reading.complete:
        return True
    if cap == 0 or _reaches_back(reading, start):
        return False
    return reading.total is None or max(reading.total, len(reading.messages)) >= cap * NEAR_CAP


def _reaches_back(reading: HistoryExtract, start: float) -> bool:
    """Whether the account still has a message from before the window: the oldest go first, so it lacks none of it."""
    return reading.oldest_at is not None and reading.oldest_at < start
