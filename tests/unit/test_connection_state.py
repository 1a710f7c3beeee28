"""The state machine of a connection: its transitions, and those that do not exist."""

from __future__ import annotations

import pytest

from bridge.adapters.http.server.state import PARSES, RECEIVES, RESPONDS, TRANSITIONS, Event, State

HEAD, EXPECT, BODY, RESPONSE = Event.HEAD, Event.EXPECT, Event.BODY, Event.RESPONSE
RAW, STOP, CLOSE, LOST = Event.RAW_RESPONSE, Event.STOP, Event.CLOSE, Event.LOST


def reachable(*begins: State, without: frozenset[Event] = frozenset()) -> set[State]:
    """Return the reachable states."""
    found, waiting = set(begins), list(begins)
    while waiting:
        state = waiting.pop()
        for (origin, event), following in TRANSITIONS.items():
            if origin is state and event not in without and following not in found:
                found.add(following)
                waiting.append(following)
    return found


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], State.IDLE),
        ([HEAD], State.ACCEPTED),
        ([HEAD, RESPONSE], State.IDLE),
        ([HEAD, BODY], State.RESPONDING),
        ([HEAD, BODY, RESPONSE], State.IDLE),
        ([HEAD, EXPECT], State.RECEIVING),
        ([HEAD, EXPECT, RESPONSE], State.IDLE),
        ([HEAD, EXPECT, BODY, RESPONSE], State.IDLE),
        ([HEAD, BODY, RESPONSE, CLOSE], State.CLOSING),
        ([HEAD, BODY, RESPONSE, CLOSE, LOST], State.CLOSED),
        ([STOP], State.CLOSING),
        ([HEAD, BODY, STOP], State.LAST_RESPONDING),
        ([HEAD, BODY, STOP, RESPONSE], State.CLOSING),
        ([HEAD, EXPECT, STOP, BODY], State.LAST_RESPONDING),
        ([HEAD, EXPECT, STOP, RESPONSE], State.CLOSING),
        ([HEAD, EXPECT, BODY, STOP, RESPONSE, STOP], State.CLOSING),
        ([HEAD, BODY, RAW], State.SENDING_RAW),
        ([HEAD, BODY, RAW, STOP], State.SENDING_RAW),
        ([HEAD, BODY, RAW, CLOSE], State.CLOSING),
        ([HEAD, BODY, STOP, RAW, LOST], State.CLOSED),
    ],
)
def test_events_lead_from_one_state_to_the_next(events: list[Event], state: State) -> None:
    reached = State.IDLE
    for event in events:
        reached = TRANSITIONS[reached, event]

    assert reached is state


def test_each_state_is_reached_and_each_but_the_last_can_be_closed_and_lost() -> None:
    assert reachable(State.IDLE) == set(State)
    for state in set(State) - {State.CLOSED}:
        assert (TRANSITIONS[state, CLOSE], TRANSITIONS[state, LOST]) == (State.CLOSING, State.CLOSED)
    assert reachable(State.CLOSED) == {State.CLOSED}


def test_no_further_request_is_started_after_a_stop() -> None:
    stopped = {following for (_, event), following in TRANSITIONS.items() if event is STOP}

    assert State.IDLE not in reachable(*stopped)


def test_request_has_one_response() -> None:
    due = {state for state, event in TRANSITIONS if event is RESPONSE}
    after = {following for (_, event), following in TRANSITIONS.items() if event in {RESPONSE, RAW}}

    # Without another head no second response is due.
    assert due.isdisjoint(reachable(*after, without=frozenset({HEAD})))


def test_state_parses_responds_or_is_final() -> None:
    assert PARSES.isdisjoint(RESPONDS)
    assert set(State) - PARSES - RESPONDS == {State.CLOSING, State.CLOSED}
    assert {state for state, event in TRANSITIONS if event is BODY} == RECEIVES | {State.ACCEPTED}
