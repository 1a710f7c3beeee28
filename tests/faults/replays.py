"""Did each submission live one life at a time? A run with replays, joined and judged.

A submission begins with replay number 0, and each replay of its dead letter that reopens it adds one. The invariants:

L1   each life has exactly one outcome: one event id, made of command, index and life; only the last may be final
L2   the provider took none twice, however many lives it had: each outcome before the last was true, or looked up again
L3   `rejected`, `failed` and `expired` were true when they were published; `sent` names a message of the journal
L4   nothing vanishes: what ended badly has a dead letter of its last life; what comes again is byte for byte the same
L5   the ledger has the same last life, and nothing open
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from bridge.domain import events
from bridge.domain.events import event_id
from tests.faults.verdict import DEAD, SUBMITTED, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.faults.verdict import Run
    from tests.harness.broker_client import Message


@dataclass(frozen=True, slots=True)
class SubmissionId:
    """Which submission: of which command, and the how many-th of it."""

    command_id: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sms:
    """The text of a submission; no two are alike."""

    text: str
    destination: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """The ledger's row of a submission."""

    state: str
    #: The life it is in.
    replay_number: int
    #: The id of its outcome event.
    event_id: str | None


def judge_replays(
    run: Run, wanted: Mapping[SubmissionId, Sms], rows: Mapping[SubmissionId, LedgerRow]
) -> Verdict:
    """Judge every life of every submission; the outcomes counted are those of the last ones."""
    published, repeated, strange = _published(run)
    taken: dict[Sms, list[Mapping[str, object]]] = defaultdict(list)
    for entry in run.journal:
        taken[Sms(text=entry["message"], destination=entry["destination_address"])].append(entry)
    letters = {str(letter.headers.get("x-bridge-event-id")) for letter in run.dead}
    violations = list(strange)
    violations += [f"L4: an event from nowhere, of {place}" for place in published.keys() - wanted.keys()]
    violations += [f"L2: {sms.text} was sent by nobody" for sms in taken.keys() - set(wanted.values())]
    last: dict[SubmissionId, Message] = {}
    for place, sms in wanted.items():
        replays = _in_order(place, published[place])
        violations += _lived(place, replays, published[place], rows.get(place))
        violations += _truly(place, replays, taken[sms])
        if replays:
            last[place] = replays[-1]
            if replays[-1].routing_key in DEAD and replays[-1].properties["message_id"] not in letters:
                violations.append(f"L4: {place} is told as {replays[-1].routing_key} and left no dead letter")
    violations += _left_over(run)
    return Verdict(
        outcomes=Counter(message.routing_key.rpartition(".")[2] for message in last.values()),
        provider_duplicates=sum(len(entries) > 1 for entries in taken.values()),
        lost=len(wanted.keys() - last.keys()),
        duplicate_events=repeated,
        violations=tuple(violations),
    )


def _published(run: Run) -> tuple[dict[SubmissionId, dict[str, Message]], int, list[str]]:
    """Return the outcomes of each submission by event id, how many came again, and which came otherwise."""
    published: dict[SubmissionId, dict[str, Message]] = defaultdict(dict)
    repeated = 0
    strange: list[str] = []
    for message in run.events:
        if message.routing_key not in events.TERMINAL:
            continue
        place = SubmissionId(message.json["subject"], message.json["data"]["index"])
        known = published[place].setdefault(str(message.properties["message_id"]), message)
        if known is not message:
            repeated += 1
            if known.body != message.body:
                strange.append(f"L4: an outcome of {place} came with another body")
    return published, repeated, strange


def _in_order(place: SubmissionId, published: Mapping[str, Message]) -> list[Message]:
    """Return the outcome of each life, from life 0 on as far as none is missing."""
    replays: list[Message] = []
    while (id_ := event_id("outcome", place.command_id, place.index, len(replays))) in published:
        replays.append(published[id_])
    return replays


def _lived(
    place: SubmissionId, replays: Sequence[Message], published: Mapping[str, Message], row: LedgerRow | None
) -> Iterator[str]:
    if not replays:
        yield f"L1: {place} has no outcome"
        return
    if len(published) != len(replays):
        yield f"L1: {place} has {len(published)} outcomes in {len(replays)} lives"
    for message in replays[:-1]:
        if message.routing_key not in DEAD:
            yield f"L1: {place} was told as {message.routing_key} and lived again"
    if row is None:
        yield f"L5: {place} is not in the ledger"
    elif (row.replay_number, row.event_id) != (len(replays) - 1, replays[-1].properties["message_id"]):
        yield f"L5: {place} has replay {row.replay_number} ({row.state}) in the ledger, {len(replays) - 1} in events"


def _truly(
    place: SubmissionId, replays: Sequence[Message], taken: Sequence[Mapping[str, object]]
) -> Iterator[str]:
    if len(taken) > 1:
        yield f"L2: {place} was sent {len(taken)} times"
    for replay_number, message in enumerate(replays):
        if message.routing_key in SUBMITTED:
            if message.json["data"]["message_id"] not in [entry["message_id"] for entry in taken]:
                yield f"L3: {place} is told as {message.routing_key}, the journal has none such"
        elif message.routing_key != events.UNKNOWN:
            published_at = datetime.fromisoformat(message.json["time"]).timestamp() * 1000
            if any(float(str(entry["accepted_at"])) < published_at for entry in taken):
                yield f"L3: {place} is told as {message.routing_key} in life {replay_number} and had been sent"


def _left_over(run: Run) -> Iterator[str]:
    if run.queued:
        yield f"L5: {run.queued} messages are left on queues"
    if run.open_rows:
        yield f"L5: {run.open_rows} rows of the ledger are open"
    for code in run.exits:
        yield f"I12: a process ended by itself with {code}"
    for line in run.leaks:
        yield f"I13: told a log: {line[:80]}"
