"""The states of a connection and what leads from one to the next.

          HEAD              EXPECT                BODY                 RESPONSE
    IDLE ──────▶ ACCEPTED ────────▶ RECEIVING ──────▶ RESPONDING ──────────────▶ IDLE

A head may be refused, and a body may come with its head: then the states between are left out. Once the server stops,
the request under way is the last one. A pair that `TRANSITIONS` does not have can't happen; a response is due exactly
in the states that have one for `Event.RESPONSE`.
"""

from __future__ import annotations

from enum import IntEnum, auto


class State(IntEnum):
    """A connection is in one of them. Ints, because a webhook looks six of them up."""

    #: No request is unanswered: the next head may come, or is coming.
    IDLE = auto()
    #: A head is complete, and what came with it is being parsed. It is left before the event loop goes on.
    ACCEPTED = auto()
    #: The body is coming, and has its deadline.
    RECEIVING = auto()
    #: The application has the whole request.
    RESPONDING = auto()
    #: The same two, of the last request on this connection.
    LAST_RECEIVING = auto()
    LAST_RESPONDING = auto()
    #: Raw bytes leave, and the connection ends with them.
    SENDING_RAW = auto()
    #: The last bytes are written; what comes is dropped.
    CLOSING = auto()
    CLOSED = auto()


class Event(IntEnum):
    """What happens to a connection."""

    #: A request is taken up: its head is complete, and it is its turn.
    HEAD = auto()
    #: Its body has not come with it and is waited for.
    EXPECT = auto()
    #: It is complete, and is handed to the application.
    BODY = auto()
    #: Its response is written: the application's or the server's own.
    RESPONSE = auto()
    #: The same, but raw.
    RAW_RESPONSE = auto()
    #: The server stops.
    STOP = auto()
    #: Nothing more is written here.
    CLOSE = auto()
    #: The client is gone.
    LOST = auto()


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.IDLE, Event.HEAD): State.ACCEPTED,
    (State.IDLE, Event.STOP): State.CLOSING,
    (State.ACCEPTED, Event.EXPECT): State.RECEIVING,
    (State.ACCEPTED, Event.BODY): State.RESPONDING,
    (State.ACCEPTED, Event.RESPONSE): State.IDLE,
    (State.ACCEPTED, Event.RAW_RESPONSE): State.SENDING_RAW,
    (State.RECEIVING, Event.BODY): State.RESPONDING,
    (State.RECEIVING, Event.RESPONSE): State.IDLE,
    (State.RECEIVING, Event.RAW_RESPONSE): State.SENDING_RAW,
    (State.RECEIVING, Event.STOP): State.LAST_RECEIVING,
    (State.RESPONDING, Event.RESPONSE): State.IDLE,
    (State.RESPONDING, Event.RAW_RESPONSE): State.SENDING_RAW,
    (State.RESPONDING, Event.STOP): State.LAST_RESPONDING,
    (State.LAST_RECEIVING, Event.BODY): State.LAST_RESPONDING,
    (State.LAST_RECEIVING, Event.RESPONSE): State.CLOSING,
    (State.LAST_RECEIVING, Event.RAW_RESPONSE): State.SENDING_RAW,
    (State.LAST_RESPONDING, Event.RESPONSE): State.CLOSING,
    (State.LAST_RESPONDING, Event.RAW_RESPONSE): State.SENDING_RAW,
    (State.SENDING_RAW, Event.STOP): State.SENDING_RAW,
    (State.CLOSING, Event.STOP): State.CLOSING,
    # In any state a connection may be closed, and its client may go.
    **{(state, Event.CLOSE): State.CLOSING for state in State if state is not State.CLOSED},
    **{(state, Event.LOST): State.CLOSED for state in State if state is not State.CLOSED},
}

#: Input is parsed in these; in others it waits for its turn, or is dropped.
PARSES = frozenset({State.IDLE, State.ACCEPTED, State.RECEIVING, State.LAST_RECEIVING})
#: A body is waited for.
RECEIVES = frozenset({State.RECEIVING, State.LAST_RECEIVING})
#: A response is written or is the application's to give.
RESPONDS = frozenset({State.RESPONDING, State.LAST_RESPONDING, State.SENDING_RAW})
