"""Cases for the rules that judge a submission in doubt: messages, other submissions and the lookup."""

from __future__ import annotations

import math
from typing import Any

from bridge.domain.evidence import Doubt, Evidence, HistoryExtract, Other
from bridge.domain.match_keys import match_key, text_key
from bridge.domain.reconciliation import LookupResult, judge_history
from bridge.domain.rules import ReconcileRules

NOW = 1_800_000_000.0
RULES = ReconcileRules(settle=60.0, skew=120.0)
CAP = RULES.history_cap
TO = "+16131234567"
FROM = "+16139998877"
SETTLED = NOW + RULES.settle


def message(message_id: str = "m-1", *, at: float = 0.0, text: str = "hi", **changes: Any) -> Evidence:
    given: dict[str, Any] = {
        "sender_address": FROM,
        "destination_address": TO,
        "text_key": text_key(text),
        "text": text,
        "status": None,
    }
    return Evidence(message_id=message_id, sent_at=NOW + at, **(given | changes))


def judge(
    *messages: Evidence,
    text: str = "hi",
    seen: tuple[Evidence, ...] = (),
    now: float = SETTLED,
    history: bool = True,
    complete: bool = True,
    total: int | None = 0,
    oldest_at: float | None = None,
    read_at: float | None = None,
    taken: frozenset[str] = frozenset(),
    others: tuple[Other, ...] = (),
    rules: ReconcileRules = RULES,
    **changes: Any,
) -> LookupResult:
    """Judge a submission with one attempt that began and ended at `NOW`, looked up at `now`."""
    given: dict[str, Any] = {
        "key": match_key(TO, text),
        "text": text,
        "destination_address": TO,
        "sender_address": FROM,
        "since": NOW,
        "until": NOW,
        "give_up_at": NOW + 86_400.0,
        "now": now,
    }
    reading = HistoryExtract(
        messages=messages,
        total=total,
        complete=complete,
        oldest_at=oldest_at,
        read_at=now if read_at is None else read_at,
    )
    return judge_history(
        Doubt(**(given | changes)),
        reading if history else None,
        seen,
        is_taken=taken.__contains__,
        others=others,
        rules=rules,
    )


def other(
    text: str = "hi",
    *,
    since: float = 0.0,
    until: float = 0.0,
    submitted: bool = False,
    in_doubt: bool = True,
) -> Other:
    """Return another submission to the number that is in doubt or has ended without a message id."""
    return Other(
        match_key=match_key(TO, text),
        since=NOW + since,
        until=NOW + until,
        is_in_doubt=in_doubt,
        submitted=submitted,
    )


def calling(text: str = "hi", *, since: float = 0.0) -> Other:
    """Return another submission to the number, with a call in flight."""
    return Other(match_key=match_key(TO, text), since=NOW + since, until=math.inf, is_calling=True)
