"""The verdict on a run. A run's commands, the provider's journal, the events and the rest, joined and judged.

I1   every accepted command has exactly one outcome: one terminal event id
I2   the provider took none of them twice
I3   `sent` is in the journal under the same message id; `unknown` may be; every other outcome is not in it
I4   nothing is lost, nothing comes from nowhere; a repeated event is byte for byte the same, and only crashes repeat
     (a ledger that lost its last commits repeats outcomes with the same provider's message, not the same bytes)
I6   at the end no queue holds anything and the ledger has nothing open
I12  no process ended by itself
I13  no number, text, token or secret in anything the processes wrote
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bridge.domain import events

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.harness.broker_client import Message

#: Outcomes of what the provider has taken.
SUBMITTED = frozenset({events.SENT, events.UNDELIVERABLE})
#: Outcomes of a valid command that leave it on the dead-letter queue.
DEAD = events.DEAD - {events.INVALID}
#: How many offenders a violation names.
NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The remains of a run once all is quiet."""

    #: The text of each command that the broker accepted; no two are alike.
    commands: Mapping[str, str]
    journal: Sequence[Mapping[str, Any]]
    events: Sequence[Message]
    dead: Sequence[Message]
    #: Whether something was killed or cut, so that events may be repeated.
    crashed: bool
    #: Whether the ledger lost its last commits: an outcome among them is found out, and published, once more.
    restored: bool = False
    #: Messages on queues that should be empty, and rows of the ledger without an outcome.
    queued: int = 0
    open_rows: int = 0
    #: Unexpected exit codes, and log lines with secrets, texts or numbers.
    exits: Sequence[int] = ()
    leaks: Sequence[str] = ()
    #: The outcomes of commands that must not be sent (invalid ones) are not checked.
    others: frozenset[str | None] = frozenset()
    #: Texts that others have sent for the same account.
    unknown_clients: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The counts of a run, and every promise it broke."""

    #: How many commands ended in which outcome, by the last word of its type.
    outcomes: Counter[str] = field(default_factory=Counter)
    provider_duplicates: int = 0
    lost: int = 0
    duplicate_events: int = 0
    violations: tuple[str, ...] = ()


def judge(run: Run) -> Verdict:
    """Join everything and judge it."""
    published, repeated, strange = _outcomes(run)
    taken: dict[str, list[str]] = defaultdict(list)
    for entry in run.journal:
        taken[entry["message"]].append(entry["message_id"])
    lost = [id_ for id_ in run.commands if not published[id_]]
    doubled = [text for text, ids in taken.items() if len(ids) > 1]
    first = {id_: next(iter(messages.values())) for id_, messages in published.items() if messages}
    violations = [
        *strange,
        *_named("I1: no outcome", lost),
        *_named("I1: two outcomes", [id_ for id_, messages in published.items() if len(messages) > 1]),
        *_named("I2: sent twice", doubled),
        *_named("I4: sent by nobody", taken.keys() - set(run.commands.values()) - run.unknown_clients),
        *_untrue(run, first, taken),
        *_without_letter(run, first),
        *_left_over(run, repeated),
    ]
    return Verdict(
        outcomes=Counter(message.routing_key.rpartition(".")[2] for message in first.values()),
        provider_duplicates=len(doubled),
        lost=len(lost),
        duplicate_events=repeated,
        violations=tuple(violations),
    )


def _outcomes(run: Run) -> tuple[dict[str, dict[str, Message]], int, list[str]]:
    """Return the outcomes of each command by event id, how many came again, and what no outcome explains."""
    published: dict[str, dict[str, Message]] = defaultdict(dict)
    repeated = 0
    strange: list[str] = []
    for message in run.events:
        subject, event_id = message.json.get("subject"), str(message.properties["message_id"])
        if message.routing_key not in events.TERMINAL or subject in run.others:
            continue
        if subject not in run.commands:
            strange.append(f"I4: an event from nowhere: {message.routing_key} of {subject}")
            continue
        known = published[subject].setdefault(event_id, message)
        if known is not message:
            repeated += 1
            if not _is_repeated(known, message, restored=run.restored):
                strange.append(f"I4: event {event_id} of {subject} came with another body")
    return published, repeated, strange


def _is_repeated(known: Message, message: Message, *, restored: bool) -> bool:
    """Return whether an event is the same one again; after a restore, whether it is of the same provider's message."""
    if not restored:
        return known.body == message.body
    kinds = {event.routing_key for event in (known, message)}
    return len(kinds) == 1 and known.json["data"]["message_id"] == message.json["data"]["message_id"]


def _left_over(run: Run, repeated: int) -> Iterator[str]:
    if repeated and not run.crashed:
        yield f"I4: {repeated} events came again in a run without a crash"
    if run.queued:
        yield f"I6: {run.queued} messages are left on queues"
    if run.open_rows:
        yield f"I6: {run.open_rows} rows of the ledger are open"
    for code in run.exits:
        yield f"I12: a process ended by itself with {code}"
    for line in run.leaks[:NAMED]:
        yield f"I13: told a log: {line[:80]}"


def _untrue(run: Run, outcomes: Mapping[str, Message], taken: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for command_id, message in outcomes.items():
        ids = taken.get(run.commands[command_id], ())
        if message.routing_key in SUBMITTED:
            if message.json["data"]["message_id"] not in ids:
                yield f"I3: {command_id} is told as {message.routing_key}, the journal has {list(ids)}"
        elif ids and message.routing_key != events.UNKNOWN:
            yield f"I3: {command_id} is told as {message.routing_key} and was sent"


def _without_letter(run: Run, outcomes: Mapping[str, Message]) -> Iterator[str]:
    letters = {message.headers.get("x-bridge-event-id") for message in run.dead}
    for command_id, message in outcomes.items():
        if message.routing_key in DEAD and message.properties["message_id"] not in letters:
            yield f"I4: {command_id} is told as {message.routing_key} and left no dead letter"


def _named(what: str, offenders: Sequence[str] | set[str]) -> list[str]:
    if not offenders:
        return []
    return [f"{what}: {len(offenders)}, as {', '.join(sorted(offenders)[:NAMED])}"]
