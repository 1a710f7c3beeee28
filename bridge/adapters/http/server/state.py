"""The state machine of a connection.

          HEAD              EXPECT                BODY                 RESPONSE
    IDLE ──────▶ ACCEPTED ────────▶ RECEIVING ──────▶ RESPONDING ──────────────▶ IDLE

A head may be refused, and a body may come with its head: then the states in between are skipped. After the server's
stop, the current request is the last one. Pairs that are not in `TRANSITIONS` can't occur; a response is due exactly in
the states with an entry for `Event.RESPONSE`.
"""

from __future__ import annotations

from enum import IntEnum, auto


class State(IntEnum):
    """The state of a connection. Integers are faster, and a webhook looks six of them up."""

    #: No request is unanswered: the next head may come, or is being received.
    IDLE = auto()
    #: A head is complete, and the data that came with it is being parsed. This state ends within the same event.
    ACCEPTED = auto()
    #: The body is being received, with its deadline.
    RECEIVING = auto()
    #: The application has the whole request.
    RESPONDING = auto()
    #: The same two, for the last request on this connection.
    LAST_RECEIVING = auto()
    LAST_RESPONDING = auto()
    #: Raw bytes are being sent, after which the connection ends.
    SENDING_RAW = auto()
    #: The last bytes are written; input is dropped.
    CLOSING = auto()
    CLOSED = auto()


class Event(IntEnum):
    """The event that may change a connection's state."""

    #: A request is started: its head is complete, and no other request is unanswered.
    HEAD = auto()
    #: Its body is incomplete.
    EXPECT = auto()
    #: It is complete and passed to the application.
    BODY = auto()
    #: Its response is written, by the application or the server.
    RESPONSE = auto()
    #: Its response is raw.
    RAW_RESPONSE = auto()
    #: The server stops.
    STOP = auto()
    #: Nothing more will be written.
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
    # In any state a connection may be closed, and its client may disconnect.
    **{(state, Event.CLOSE): State.CLOSING for state in State if state is not State.CLOSED},
    **{(state, Event.LOST): State.CLOSED for state in State if state is not State.CLOSED},
}

#: States in which input is parsed; in the others it is queued or dropped.
PARSES = frozenset({State.IDLE, State.ACCEPTED, State.RECEIVING, State.LAST_RECEIVING})
#: States in which a body is expected.
RECEIVES = frozenset({State.RECEIVING, State.LAST_RECEIVING})
#: States in which a response is being written, or expected from the application.
RESPONDS = frozenset({State.RESPONDING, State.LAST_RESPONDING, State.SENDING_RAW})
