"""The order of a command that comes by HTTP: which actions, one after the other, and which result."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.domain.commands import CommandRules
from bridge.domain.messages import Handed
from bridge.domain.submitted_commands import make_ready
from bridge.ingest.submission import CheckBroker, FindContent, OfferCommand, SubmissionStep, submit
from bridge.ports import Offered
from bridge.ports.serving import Fate

OWN = b'{"id": "a", "destination_address": "+16135550123", "message": "hi"}'
NAMELESS = b'{"destination_address": "+16135550123", "message": "hi"}'


def carried_out(body: bytes, *results: object) -> tuple[list[type[SubmissionStep]], Fate]:
    """Return the actions of an order whose results are these, and what it came to."""
    readied = make_ready(
        Handed(body=body),
        rules=CommandRules(allow_missing_id=True),
        exchange="sms.commands",
        now=1.8e9,
        new_id=lambda: "made-up",
    )
    steps, actions = submit(readied), []
    result: Any = None
    for given in (*results, None):
        try:
            actions.append(type(steps.send(result)))
        except StopIteration as end:
            return actions, end.value
        result = readied.content_hash if given == "the same" else given
    raise AssertionError("there are more actions than results")


@pytest.mark.parametrize("body", [OWN, NAMELESS])
def test_without_a_broker_nothing_is_asked_for_and_nothing_offered(body: bytes) -> None:
    assert carried_out(body, False) == ([CheckBroker], Fate.AWAY)


@pytest.mark.parametrize(
    ("offered", "fate"),
    [
        (Offered.TAKEN, Fate.QUEUED),
        (Offered.UNROUTABLE, Fate.UNROUTABLE),
        (Offered.NOT_TAKEN, Fate.UNCONFIRMED),
    ],
)
def test_a_command_is_queued_only_once_the_broker_has_taken_it(offered: Offered, fate: Fate) -> None:
    assert carried_out(NAMELESS, True, offered) == ([CheckBroker, OfferCommand], fate)


@pytest.mark.parametrize("known", [None, "the same"])
def test_a_command_with_an_id_of_its_own_is_compared_before_it_is_offered(known: object) -> None:
    actions, fate = carried_out(OWN, True, known, Offered.TAKEN)

    assert (actions, fate) == ([CheckBroker, FindContent, OfferCommand], Fate.QUEUED)


def test_another_command_of_the_same_id_is_never_offered() -> None:
    assert carried_out(OWN, True, b"other") == ([CheckBroker, FindContent], Fate.CONFLICTING)
