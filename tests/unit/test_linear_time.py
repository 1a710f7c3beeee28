"""Linear time for input from outside: bodies, header fields and every regular expression."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import time
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bridge
from bridge.domain.outcomes import EventFormat
from bridge.ingest.notification import NotificationFlow, NotificationRules
from tests.harness.http_server import make_hook, serving
from tests.harness.raw_http import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


#: Bytes: the maximum body of a webhook.
SIZE = 64 * 1024
#: Seconds of this thread's processor time. The slowest body takes a tenth, and one with quadratic time takes many
# times as much.
LIMIT = 0.4
RULES = NotificationRules(style=EventFormat(source="/s", camel_case=True), default_region="US")
HEAD = b"POST /hook HTTP/1.1\r\nHost: bridge\r\n"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(make_hook(max_body=SIZE)) as server:
        yield server.port


def seconds(port: int, wire: bytes) -> float:
    """Return the minimum time of the response to `wire`."""
    best = float("inf")
    with Client(port, timeout=60) as client:
        for _ in range(5):
            began = time.perf_counter()
            status = client.send(wire).status()
            best = min(best, time.perf_counter() - began)
            assert status in {204, 413}
    return best


def declared(body: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def in_one_chunk(body: bytes) -> bytes:
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("framed", [declared, in_one_chunk])
@pytest.mark.parametrize("blank", [b"\n\r\n", b"\r\n\r\n", b"0\r\n\r\n,", b"\n"])
def test_blank_lines_in_a_body_cost_no_more_than_its_bytes(
    port: int, framed: Callable[[bytes], bytes], blank: bytes
) -> None:
    count = SIZE // len(blank) - 10
    blanks, plain = (b"[" + text * count + b"0]" for text in (blank, b" " * len(blank)))

    # A separate piece for each blank line takes seconds.
    assert seconds(port, framed(blanks)) < 0.5 + 20 * seconds(port, framed(plain))


def test_blank_lines_of_a_body_that_is_refused_cost_no_more_than_its_bytes(port: int) -> None:
    blanks, plain = (declared(text * (SIZE // 3)) for text in (b"\n\r\n", b"   "))
    refused = [
        wire.replace(b"Length: %d" % (SIZE // 3 * 3), b"Length: %d" % (SIZE + 1)) for wire in (blanks, plain)
    ]

    assert seconds(port, refused[0] + b" " * 2) < 0.5 + 20 * seconds(port, refused[1] + b" " * 2)


def test_requests_behind_a_chunked_body_are_each_answered_in_order(port: int) -> None:
    several = (
        in_one_chunk(b"[0\r\n\r\n,1]") + declared(b"{}") + HEAD.replace(b"POST", b"GET") + b"\r\n"
    ) * 30

    with Client(port) as client:
        client.send(several)
        statuses = [client.status() for _ in range(90)]

    assert statuses == [204, 204, 405] * 30


def slowness(call: Callable[[Any], object], text: str | bytes, slow: float) -> float:
    """Return the seconds of this thread's processor time that a call takes, at best of three where the first is slow.

    A full collection of the garbage of thousands of tests falls into one call, not into three.
    """
    taken: list[float] = []
    while len(taken) < 3 and (not taken or taken[-1] > slow):
        began = time.thread_time()
        call(text)
        taken.append(time.thread_time() - began)
    return min(taken)


# -- processing of a body ----------------------------------------------------------------------------------------------

_MESSAGE = {
    "dateTime": 1525895980,
    "destinationAddress": "+16137001234",
    "message": "hi",
    "messageId": "m1",
    "senderAddress": "+16139998877",
}
_NAMES = ["inboundSMS", "outboundSMS"]
_UNITS = [
    "1",
    "+",
    " ",
    "a@",
    "tel:+",
    "-.()",
    "\u0315\u0300",
    "\ud83d",
    "\x00",
    '"',
    "\\",
    "aB",
    "A",
    "/",
    "?",
    "\u20ac",
    "11 ",
]


def repeated(unit: str, size: int = SIZE) -> str:
    return unit * (size // max(1, len(json.dumps(unit)) - 2))


def documents() -> st.SearchStrategy[str]:
    """Return bodies of some 64 KiB, each of which repeats one element at one position."""
    raw = st.sampled_from(
        [
            "1",
            "1e9",
            "9" * 100,
            "-0.1",
            "null",
            "[]",
            "{}",
            '""',
            "[" * 60 + "]" * 60,
            '{"a":{}}',
            '{"href":"/"}',
            "1\n\r\n",
        ]
    )
    text = st.sampled_from(_UNITS).map(repeated)
    arrays = raw.map(lambda item: "[" + ",".join([item] * (SIZE // (len(item) + 1) - 100)) + "]")
    key = st.sampled_from(["a{}", "aB{:x}", "{:08x}", "A{}_"])
    objects = key.map(lambda form: json.dumps(dict.fromkeys(map(form.format, range(SIZE // 16)))))
    values = st.one_of(text.map(json.dumps), arrays, objects)
    field = st.sampled_from([*_MESSAGE, "extra"])

    def message(name: str, field: str, value: str) -> str:
        inner = json.dumps({**_MESSAGE, field: "@"}).replace('"@"', value)
        return f'{{"{name}MessageNotification":{{"{name}Message":{inner},"id":"n1"}}}}'

    def other(name: str, field: str, value: str) -> str:
        return f'{{"{name}":{{"id":"n1","{field}":{value}}}}}'

    others = st.sampled_from(["chat", "smsEventNotification", "smsSubscriptionCancellationNotification"])
    links = text.map(lambda href: json.dumps([{"href": href}]))
    return st.one_of(
        st.builds(message, st.sampled_from(_NAMES), field, values),
        st.builds(other, others, st.sampled_from(["link", "eventType", "x"]), st.one_of(values, links)),
        st.sampled_from(["[", '{"a":', '{"a":1,', "1", '"']).map(repeated),
        text.map(lambda key: json.dumps({key: {}})[:-1] + f",{json.dumps(key)}:1}}"),
    )


class Document(str):
    """A body whose `repr` is short: Hypothesis shows the one that failed, and warns of a long one instead."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{self[:200]!s}... ({len(self)} characters)"


@settings(max_examples=150, deadline=None)
@given(documents().map(Document))
def test_body_becomes_an_event_in_linear_time(text: Document) -> None:
    body = text.encode("utf-8", "surrogatepass")[: 2 * SIZE]

    # All steps, as if neither ledger nor broker answered.
    taken = slowness(lambda given: list(NotificationFlow().receive(given, RULES, now=1.8e9)), body, LIMIT)

    assert taken < LIMIT


# -- regular expressions -----------------------------------------------------------------------------------------------

_PREFIXES = ["", "+", "://", '"', "?a"]
_FRAGMENTS = [
    "1",
    "a",
    "A",
    "_",
    ".",
    " ",
    "\t",
    ":",
    "/",
    "@",
    "%20",
    '\\"',
    "://a:",
    "=",
    "&token",
    "a@",
    "Bearer ",
    "aA",
    "é",
    "-",
]
#: Characters, and their limit in seconds: a pattern with quadratic time takes 0.1 s and more.
_LENGTH = 8_000
SLOW = 0.04


@cache
def patterns() -> dict[str, tuple[re.Pattern[str] | re.Pattern[bytes], frozenset[str]]]:
    """Return every compiled pattern of the bridge by its position and by the methods that use it."""
    found = {}
    for info in pkgutil.walk_packages(bridge.__path__, "bridge."):
        if ".migrations." in info.name or info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        source = Path(module.__file__ or "").read_text()
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                used = set(re.findall(rf"\b{name}\.(\w+)\(", source))
                whole = used & {"match", "fullmatch"}
                searches = {"search"} if used & {"search", "sub", "findall", "finditer", "split"} else set()
                found[f"{info.name}.{name}"] = value, frozenset(whole | searches)
    return found


def test_no_regular_expression_takes_quadratic_time() -> None:
    slow = set()
    for place, (pattern, methods) in patterns().items():
        for prefix, fragment in product(_PREFIXES, _FRAGMENTS):
            text = f"{prefix}{fragment * (_LENGTH // len(fragment))}!"
            for method in methods:
                given = text.encode() if isinstance(pattern.pattern, bytes) else text
                if slowness(getattr(pattern, method), given, SLOW) > SLOW:
                    slow.add((place, method, prefix, fragment))

    assert slow == set()
    assert len(patterns()) > 30
