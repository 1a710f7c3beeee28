"""Unclaimed messages: messages whose ids belong to no submission, and the submissions that they may belong to.

A resend needs proof that the history has no message of ours. An unclaimed message does not weaken that proof if it has
the text of another submission that has no message yet, and can't be an altered form of our text. Every other one, and
one with an unknown text, may be ours as a gateway has altered it. If its text is likely to come from ours, it counts as
ours; otherwise the lookup result is undetermined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.domain.likeness import Original
from bridge.domain.match_keys import match_key_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.domain.evidence import Evidence, Other


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclaimed:
    """The messages that may be ours although their texts differ from ours."""

    #: Those that are likely to be altered forms of our text, and not of the text of another submission in doubt.
    likely: Sequence[Evidence]
    #: The number of all of them.
    number: int
    #: The other submissions that one of them may belong to, and those that one of the likely ones may belong to.
    able: Sequence[Other]
    claimants: Sequence[Other]


def sort_out(
    text: str, messages: Sequence[Evidence], others: Sequence[Other], *, before: float, after: float
) -> Unclaimed:
    """Drop the messages that certainly belong to `others`, and find those of the rest that may show `text`.

    The time of a message is at most `before` seconds before its attempt, and at most `after` seconds after it.
    """

    def can_have(other: Other, message: Evidence) -> bool:
        return other.since - before <= message.sent_at <= other.until + after

    original = Original(text)
    holders = list(others)
    alike, strange = [], []
    for message in sorted(messages, key=lambda m: m.sent_at):
        if message.text is not None and original.may_show_as(message.text):
            alike.append(message)
            continue
        # A message that is known only from a notification has no text to compare with ours.
        may_be_ours = message.text is None or original.may_be_left_as(message.text)
        key = None if may_be_ours else match_key_of(message)
        holder = next((o for o in holders if o.match_key == key and can_have(o, message)), None)
        if holder is None:
            strange.append(message)
        else:
            # Each submission accounts for one message with its text; a second one has to belong to another submission.
            holders.remove(holder)
    left = [*alike, *strange]
    waited_for = {o.match_key for o in others if o.is_in_doubt}
    likely = [m for m in alike if match_key_of(m) not in waited_for]
    return Unclaimed(
        likely=likely,
        number=len(left),
        able=[o for o in others if any(can_have(o, m) for m in left)],
        claimants=[
            o for o in others if (o.is_in_doubt or o.submitted) and any(can_have(o, m) for m in likely)
        ],
    )
