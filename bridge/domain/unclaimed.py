"""Messages whose ids belong to no submission, and whose they can be.

A resend needs proof that no message of ours is there. Such a message is no danger to that proof where its text is the
one of another submission, which has none yet, and can't have been made of ours. Any other one, and one whose text is
not known, may be ours, as a gateway has altered it: if its text is likely to come from ours, it is taken for it, else
nothing can be said.
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
    """The messages that may be ours, though their texts are not ours."""

    #: Those that a gateway is likely to have made of our text, and of no text of another submission that is open.
    likely: Sequence[Evidence]
    #: How many there are of any kind.
    number: int
    #: The other submissions that may have one of them, and those that may have one of the likely ones.
    able: Sequence[Other]
    claimants: Sequence[Other]


def sort_out(
    text: str, messages: Sequence[Evidence], others: Sequence[Other], *, before: float, after: float
) -> Unclaimed:
    """Leave out of `messages` those that are certainly of `others`, and see which of the rest may show `text`.

    A message may be dated up to `before` seconds before the attempt that it is of, and `after` after it.
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
        # A message known by notification alone has no text, so it can't be seen whether ours may show so.
        may_be_ours = message.text is None or original.may_be_left_as(message.text)
        key = None if may_be_ours else match_key_of(message)
        holder = next((o for o in holders if o.match_key == key and can_have(o, message)), None)
        if holder is None:
            strange.append(message)
        else:
            # One message of its text is a submission's own; a second one would need an explanation of its own.
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
