"""The order of a command received by HTTP: its actions and its result."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.domain.commands import CommandRules
from bridge.domain.messages import SubmittedCommand
from bridge.domain.submitted_commands import make_ready
from bridge.ingest.submission import CheckBroker, FindContent, PublishCommand, SubmissionStep, submit
from bridge.ports import OneShotResult
from bridge.ports.http_results import SubmitResult

OWN = b'{"id": "a", "destination_address": "+16135550123", "message": "hi"}'
NAMELESS = b'{"destination_address": "+16135550123", "message": "hi"}'


def carried_out(body: bytes, *results: object) -> tuple[list[type[SubmissionStep]], SubmitResult]:
    """Return the actions for these results, and the final result."""
    validated = make_ready(
        SubmittedCommand(body=body),
        rules=CommandRules(allow_missing_id=True),
        exchange="sms.commands",
        now=1.8e9,
        new_id=lambda: "made-up",
    )
    steps, actions = submit(validated), []
    result: Any = None
    for given in (*results, None):
        try:
            actions.append(type(steps.send(result)))
        except StopIteration as end:
            return actions, end.value
        result = validated.content_hash if given == "the same" else given
    raise AssertionError("there are more actions than results")


@pytest.mark.parametrize("body", [OWN, NAMELESS])
def test_nothing_is_looked_up_or_published_without_a_broker(body: bytes) -> None:
    assert carried_out(body, False) == ([CheckBroker], SubmitResult.UNAVAILABLE)


@pytest.mark.parametrize(
    ("offered", "result"),
    [
        (OneShotResult.TAKEN, SubmitResult.QUEUED),
        (OneShotResult.UNROUTABLE, SubmitResult.UNROUTABLE),
        (OneShotResult.NOT_TAKEN, SubmitResult.UNCONFIRMED),
    ],
)
def test_command_is_queued_once_the_broker_has_confirmed_it(
    offered: OneShotResult, result: SubmitResult
) -> None:
    assert carried_out(NAMELESS, True, offered) == ([CheckBroker, PublishCommand], result)


@pytest.mark.parametrize("known", [None, "the same"])
def test_command_with_a_client_id_is_compared_before_it_is_published(known: object) -> None:
    actions, result = carried_out(OWN, True, known, OneShotResult.TAKEN)

    assert (actions, result) == ([CheckBroker, FindContent, PublishCommand], SubmitResult.QUEUED)


def test_another_command_with_the_same_id_is_never_published() -> None:
    assert carried_out(OWN, True, b"other") == ([CheckBroker, FindContent], SubmitResult.CONFLICTING)
