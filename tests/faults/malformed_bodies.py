"""Requests to the webhook with random malformed bodies, and the answer that the contract has for each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st

from bridge.domain.errors import InvalidNotification
from bridge.domain.notifications import parse_notification
from tests.harness.misbehaving_clients import SECRET, request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

SCALARS = st.one_of(
    st.none(), st.booleans(), st.text(max_size=30), st.floats(), st.integers(-(10**120), 10**120),
    st.sampled_from(["", "\x00", "\ud800", "+16139998877", "DeliveredToTerminal", "/a/b?c", "x" * 5000]),
)  # fmt: skip
#: Where something known may be expected.
KNOWN = (
    "inboundSMSMessageNotification", "inboundSMSMessage", "outboundSMSMessageNotification", "outboundSMSMessage",
    "smsSubscriptionCancellationNotification", "smsEventNotification", "deliveryInfoNotification", "deliveryInfo",
    "deliveryStatus", "messageId", "message", "address", "dateTime", "id", "link", "href", "eventType",
    "senderAddress", "destinationAddress",
)  # fmt: skip
KEYS = st.one_of(st.text(max_size=10), st.sampled_from(KNOWN))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)
DOCUMENTS = st.one_of(
    VALUES,
    st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=5), min_size=1, max_size=2),
    st.builds(
        lambda inner, fields, more, rest: {f"{inner}Notification": {inner: fields, **more, **rest}},
        st.sampled_from(["inboundSMSMessage", "outboundSMSMessage", "deliveryInfo", "smsEvent"]),
        st.dictionaries(KEYS, SCALARS, max_size=5),
        st.dictionaries(KEYS, SCALARS, max_size=3),
        st.dictionaries(KEYS, VALUES, max_size=2),
    ),
)
WRITTEN = st.builds(
    lambda document, ascii_, encoding: json.dumps(document, ensure_ascii=ascii_).encode(
        encoding, "surrogatepass"
    ),
    DOCUMENTS,
    st.booleans(),
    st.sampled_from(["utf-8"] * 8 + ["utf-16", "utf-8-sig"]),
)
REPEATED = st.builds(
    lambda piece, times, end: piece * times + end,
    st.sampled_from([b"[", b'{"a":', b"1", b"-", b" ", b'{"a":{},', b'"', b"\\", b"\xff", b"\x00"]),
    st.integers(1, 70_000),
    st.sampled_from([b"", b"{}", b"}"]),
).map(lambda body: body[:66_000])
BODIES = st.one_of(WRITTEN, WRITTEN, WRITTEN, st.binary(max_size=300), REPEATED)
#: How often each body is edited, as far as it is JSON, and how often it is spoilt.
EDITED, SPOILT = 12, 6
_STRANGE: tuple[object, ...] = (
    None, True, 0, -1, 1.5, 1525895987123, 10**99, 10**100, "", "x", "+16139998877", "\ud800", [], [[]], {}, {"": {}},
)  # fmt: skip
_BITS = (b'"', b"{", b"}", b",", b":", b"[", b"]", b"\\", b"\\u12", b"1" * 101, b"\xff", b"\x00", b"")


def spoilt(body: bytes, chance: Random) -> bytes:
    """Return `body` with something put in, something taken out, or both, in one place or several."""
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        at = chance.randint(0, len(body))
        more = chance.choice((*_BITS, chance.randbytes(chance.randint(1, 4))))
        body = body[:at] + more + body[at + chance.randint(0, 8) :]
    return body


def edited(body: bytes, chance: Random) -> bytes:
    """Return `body`, which is JSON, with a value changed, taken out or put in, in one place or several."""
    document = json.loads(body)
    for _ in range(chance.choice((1, 1, 2, 4))):
        places: list[Any] = [document]
        for place in places:
            children = place.values() if isinstance(place, dict) else place if isinstance(place, list) else ()
            places.extend(children)
        place = chance.choice(places)
        value = chance.choice((*_STRANGE, *(each for each in places if each is not document)))
        if isinstance(place, dict):
            key = chance.choice((*KNOWN, *place))
            # A copy is inserted, since the value could otherwise contain itself.
            place[key] = json.loads(json.dumps(value))
            if chance.random() < 0.3:
                del place[key]
        elif isinstance(place, list):
            place.append(json.loads(json.dumps(value)))
    return json.dumps(document).encode()


def variants(body: bytes, chance: Random) -> Iterator[bytes]:
    """Yield `body` and what else becomes of it."""
    yield body
    try:
        for _ in range(EDITED):
            yield edited(body, chance)
    except (ValueError, RecursionError):  # no JSON
        pass
    for _ in range(SPOILT):
        yield spoilt(body, chance)


class Asked(NamedTuple):
    """One request, and how its body is cut into chunks; None: it has a length."""

    body: bytes
    chunk: int | None
    authorized: bool
    media_type: str | None

    @property
    def wire(self) -> bytes:
        """The body that is sent."""
        headers = [] if self.media_type is None else [f"Content-Type: {self.media_type}"]
        key = SECRET if self.authorized else "Bearer hunter2-guess"
        if self.chunk is None:
            return request(*headers, body=self.body, authorization=key)
        pieces = [self.body[at : at + self.chunk] for at in range(0, len(self.body), self.chunk)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])
        return request(*headers, "Transfer-Encoding: chunked", body=chunks, authorization=key)

    @property
    def answer(self) -> int:
        """The status that the contract has for it, where the broker is well."""
        if self.chunk is None and len(self.body) > 65_536:
            return 413
        if not self.authorized:
            return 401
        if self.media_type not in {None, "application/json", "application/x+json; charset=utf-8"}:
            return 415
        if len(self.body) > 65_536:
            return 413
        try:
            parse_notification(self.body)
        except InvalidNotification:
            return 400
        return 204


ASKED = st.builds(
    Asked,
    BODIES,
    st.one_of(st.none(), st.none(), st.integers(50, 5000)),
    st.sampled_from([True] * 19 + [False]),
    st.sampled_from(["application/json"] * 17 + [None, "application/x+json; charset=utf-8", "text/plain"]),
)
