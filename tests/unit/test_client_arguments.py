"""Arguments of the client's public functions: the error names a wrong one, its type and the expected one."""

from __future__ import annotations

import asyncio
import functools
import inspect
import uuid
from concurrent.futures import Future
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

import bridge.client
from bridge.client import (
    Client,
    Command,
    Consumer,
    ConsumerOptions,
    InvalidCommand,
    Options,
    SeenInMemory,
    aio,
)
from bridge.client.commands import make_ready
from bridge.client.handler import check_finished
from bridge.domain.command_parser import parse_command
from bridge.domain.commands import CommandRules, SendSms
from tests.harness.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_790_000_000.0
TO = "+16131234567"
VALID: dict[str, Any] = {"to": TO, "message": "canary"}


class NotText:
    """A class whose repr shows its content, which no error may repeat."""

    def __repr__(self) -> str:
        return "canary"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"to": 16131234567}, "to must be a str or a list of str, not int"),
        ({"to": b"+16131234567"}, "to must be a str or a list of str, not bytes"),
        ({"to": bytearray(b"+1")}, "to must be a str or a list of str, not bytearray"),
        ({"to": None}, "to must be a str or a list of str, not None"),
        ({"to": {TO}}, "to must be a str or a list of str, not set"),
        ({"to": {TO: 1}}, "to must be a str or a list of str, not dict"),
        ({"to": (one for one in [TO])}, "to must be a str or a list of str, not generator"),
        ({"to": [TO, 16131234568]}, "to[1] must be a str, not int"),
        ({"to": [b"+16131234567"]}, "to[0] must be a str, not bytes"),
        ({"to": [None]}, "to[0] must be a str, not None"),
        ({"to": "nobody"}, "to is not one of the accepted forms"),
        ({"message": b"canary"}, "message must be a str, not bytes"),
        ({"message": None}, "message must be a str, not None"),
        ({"message": 1}, "message must be a str, not int"),
        ({"message": NotText()}, "message must be a str, not NotText"),
        ({"sender": 16139998877}, "sender must be a str, not int"),
        ({"sender": ["+16139998877"]}, "sender must be a str, not list"),
        ({"id": 4711}, "id must be a str, not int"),
        ({"id": uuid.UUID(int=0)}, "id must be a str, not UUID"),
        ({"id": b"a"}, "id must be a str, not bytes"),
        (
            {"send_at": 1_790_000_000},
            "send_at must be a datetime with a time zone or a str in RFC 3339, not int",
        ),
        (
            {"send_at": date(2026, 9, 21)},
            "send_at must be a datetime with a time zone or a str in RFC 3339, not date",
        ),
        ({"send_at": datetime(2026, 9, 21)}, "send_at must be a datetime with a time zone, such as"),  # noqa: DTZ001 - the point
        ({"expires_at": datetime(2026, 9, 21)}, "expires_at must be a datetime with a time zone, such as"),  # noqa: DTZ001 - the point
        ({"expires_at": timedelta(hours=1)}, "or a str in RFC 3339, not timedelta"),
        ({"expires_at": "in an hour"}, "expires_at is not an RFC 3339 time"),
        ({"metadata": [("a", "b")]}, "metadata must be a dict of str to str, not list"),
        ({"metadata": "a"}, "metadata must be a dict of str to str, not str"),
        ({"metadata": {1: "a"}}, "metadata must be a dict of str to str, and has keys of type int"),
        ({"metadata": {"a": 1, "b": None}}, "and has values of type NoneType, int"),
        ({"metadata": {"a": NotText()}}, "and has values of type NotText"),
        ({"traceparent": 1}, "traceparent must be a str, not int"),
        ({"traceparent": "00-1"}, "traceparent is not a W3C trace context"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_field_of_a_wrong_type_is_named_with_its_type_and_never_its_value(
    fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidCommand) as invalid:
        make_ready(Command(**{**VALID, **fields}), rules=CommandRules(), now=NOW)

    assert reason in str(invalid.value)
    assert not [text for text in ("canary", "613") if text in str(invalid.value)]


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(InvalidCommand) as invalid:
        make_ready(Command(to=1, message=2, id=3), rules=CommandRules(), now=NOW)  # type: ignore[arg-type]

    assert [reason.split()[0] for reason in invalid.value.reasons] == ["to", "message", "id"]


@pytest.mark.parametrize(
    "zone",
    [UTC, timezone(timedelta(hours=-4)), timezone(timedelta(minutes=19, seconds=32))],
    ids=["utc", "hours", "local mean time, whose offset has seconds"],
)
def test_time_in_any_zone_is_converted(zone: timezone) -> None:
    time = datetime(2026, 9, 21, 20, 30, tzinfo=zone)
    ready = make_ready(Command(**VALID, send_at=time), rules=CommandRules(), now=NOW)
    read = parse_command(ready.body, None, rules=CommandRules(), now=NOW)

    assert isinstance(read, SendSms)
    assert read.send_at == time.timestamp()


@pytest.mark.parametrize(
    "far",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime(9999, 12, 31, 20, tzinfo=timezone(timedelta(hours=-14))),
        datetime(9999, 12, 31, tzinfo=UTC),
    ],
)
def test_time_without_a_year_in_utc_is_validated_by_the_workers_rules(far: datetime) -> None:
    with pytest.raises(InvalidCommand, match="send_at"):
        make_ready(
            Command(**VALID, send_at=far, expires_at="2026-10-01T00:00:00Z"), rules=CommandRules(), now=NOW
        )


#: Nothing listens there; no test here connects.
URL = f"amqp://127.0.0.1:{free_port()}/"


def send_many(commands: Any, **options: Any) -> None:
    with Client(URL) as sms:
        sms.send_many(commands, **options)


def send_and_wait(**options: Any) -> None:
    with Client(URL) as sms:
        sms.send_and_wait(**VALID, **options)


def consume(handler: Any) -> None:
    with Consumer(URL, "q") as events:
        events.run(handler)


class NoMemory:
    """Has no `add`."""

    def has(self, event_id: str) -> bool:
        return False


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: Client(None), "url must be a str such as .*/%2f, or a list of them, not None"),  # type: ignore[arg-type]
        (lambda: Client(b"amqp://localhost/"), "url must be a str such as .*, not bytes"),  # type: ignore[arg-type]
        (lambda: Client([URL, b"amqp://localhost/"]), r"url\[1\] must be a str such as .*, not bytes"),  # type: ignore[list-item]
        (lambda: Client({URL}), "url must be a str such as .*, or a list of them, not set"),  # type: ignore[arg-type]
        (lambda: Client(URL, Options(ca_file=1)), "ca_file must be a path, not int"),  # type: ignore[arg-type]
        (lambda: Client(URL, {"prefix": "a"}), "options must be an Options, not dict"),  # type: ignore[arg-type]
        (lambda: Client(URL, Options), "options must be an Options, not Options"),  # type: ignore[arg-type]
        (lambda: Client(URL, timeout="10"), "timeout must be a number of seconds, not str"),  # type: ignore[arg-type]
        (lambda: Client(URL, timeout=None), "timeout must be a number of seconds, not None"),  # type: ignore[arg-type]
        (lambda: Client(URL, timeout=True), "timeout must be a number of seconds, not bool"),
        (lambda: send_many(None), "commands must be a list of Command, not None"),
        (lambda: send_many(Command(**VALID)), "commands must be a list of Command, not Command"),
        (lambda: send_many("canary"), "commands must be a list of Command, not str"),
        (lambda: send_many([], timeout="1"), "timeout must be a number of seconds, not str"),
        (lambda: send_and_wait(wait=None), "wait must be a number of seconds, not None"),
        (lambda: send_and_wait(wait=timedelta(seconds=1)), "wait must be a number of seconds, not timedelta"),
        (lambda: Consumer(None, "q"), "url must be a str"),  # type: ignore[arg-type]
        (lambda: Consumer(URL, 1), "queue must be a str, not int"),  # type: ignore[arg-type]
        (
            lambda: Consumer(URL, "q", "sms.outbound.*"),
            r'keys must be a list of str, such as \["sms.*\], not str',
        ),
        (lambda: Consumer(URL, "q", [b"#"]), r"keys\[0\] must be a str, not bytes"),  # type: ignore[list-item]
        (lambda: Consumer(URL, "q", options="sms"), "options must be an Options, not str"),  # type: ignore[arg-type]
        (lambda: Consumer(URL, "q", seen=NoMemory()), "seen must be an object with the methods has"),  # type: ignore[arg-type]
        (lambda: Consumer(URL, "q", seen=SeenInMemory), "seen must be an object, not the class SeenInMemory"),  # type: ignore[arg-type]
        (lambda: ConsumerOptions(tries=2.5), "tries must be a whole number, not float"),  # type: ignore[arg-type]
        (lambda: ConsumerOptions(first_pause="1"), "first_pause must be a number of seconds, not str"),  # type: ignore[arg-type]
        (lambda: ConsumerOptions(prefetch=None), "prefetch must be a whole number, not None"),  # type: ignore[arg-type]
        (lambda: ConsumerOptions(declare="no"), "declare must be True or False, not str"),  # type: ignore[arg-type]
        (lambda: consume(None), "handler must be a function that takes an Event, not None"),
        (lambda: Options(prefix=None), "prefix must be a str, not None"),  # type: ignore[arg-type]
        (lambda: Options(commands_exchange=1), "commands_exchange must be a str, not int"),  # type: ignore[arg-type]
        (lambda: Options(events_exchange=1), "events_exchange must be a str, not int"),  # type: ignore[arg-type]
        (lambda: Options(max_destinations="100"), "max_destinations must be a whole number, not str"),  # type: ignore[arg-type]
        (lambda: Options(default_region=1), "default_region must be a str, not int"),  # type: ignore[arg-type]
        (lambda: Options(connect_timeout="5"), "connect_timeout must be a number of seconds, not str"),  # type: ignore[arg-type]
        (lambda: Options(heartbeat=None), "heartbeat must be a number of seconds, not None"),  # type: ignore[arg-type]
        (lambda: Options(name=None), "name must be a str, not None"),  # type: ignore[arg-type]
        (lambda: SeenInMemory("many"), "most must be a whole number, not str"),  # type: ignore[arg-type]
    ],
)
def test_argument_of_a_wrong_type_is_named(call: Callable[[], object], error: str) -> None:
    with pytest.raises(TypeError, match=error):
        call()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: Client(URL, timeout=0), "timeout must be a finite number of seconds above 0"),
        (lambda: Client(URL, timeout=float("nan")), "timeout must be a finite number"),
        (lambda: send_many([], timeout=float("inf")), "timeout must be a finite number"),
        (lambda: send_and_wait(wait=-1), "wait must be a finite number of seconds, 0 or more"),
        (lambda: send_and_wait(wait=1e300), "wait must be a finite number"),
        (lambda: Consumer(URL, ""), "queue must have 1 to 250 bytes"),
        (lambda: Consumer(URL, "ü" * 126), "queue must have 1 to 250 bytes"),
        (lambda: Consumer(URL, "q", [""]), r"keys\[0\] must have 1 to 255 bytes"),
        (lambda: ConsumerOptions(tries=0), "tries must be 1 or more"),
        (
            lambda: ConsumerOptions(first_pause=-1),
            "first_pause must be a finite number of seconds, 0 or more",
        ),
        (lambda: ConsumerOptions(prefetch=0), "prefetch must be from 1 to 65535"),
        (lambda: ConsumerOptions(prefetch=65536), "prefetch must be from 1 to 65535"),
        (lambda: Options(prefix=""), "prefix must have 1 to 255 bytes"),
        (lambda: Options(max_destinations=0), "max_destinations must be 1 or more"),
        (lambda: Options(default_region="Canada"), "default_region must be two capital letters"),
        (lambda: Options(connect_timeout=0), "connect_timeout must be a finite number of seconds above 0"),
        (lambda: Options(heartbeat=-1), "heartbeat must be a finite number of seconds, 0 or more"),
        (lambda: SeenInMemory(0), "most must be 1 or more"),
    ],
)
def test_impossible_value_is_refused_with_what_is_possible(call: Callable[[], object], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        call()


def test_each_invalid_item_of_a_batch_is_named() -> None:
    with pytest.raises(InvalidCommand) as invalid:
        send_many([Command(**VALID), VALID, Command(to=TO, message=b"canary")])  # type: ignore[arg-type]

    assert invalid.value.reasons == (
        "commands[1] must be a Command, not dict",
        "commands[2]: message must be a str, not bytes",
    )


# -- functions that return before their work is done ---------------------------------------------------------------


async def asynchronous(event: object) -> None:
    raise AssertionError("never awaited")


async def asynchronous_generator(event: object) -> Any:
    yield event


def generator(event: object) -> Any:
    yield event


class Handler:
    """A callable object with methods."""

    async def __call__(self, event: object) -> None:
        raise AssertionError("never awaited")

    async def method(self, event: object) -> None:
        raise AssertionError("never awaited")


@pytest.mark.parametrize(
    "handler",
    [
        asynchronous,
        asynchronous_generator,
        generator,
        Handler(),
        Handler().method,
        functools.partial(asynchronous),
        functools.partial(functools.partial(Handler().method)),
        functools.partial(Handler()),
    ],
)
def test_handler_whose_work_would_not_be_done_is_refused_before_any_event(handler: Any) -> None:
    with pytest.raises(TypeError, match=r"handler must be a plain function.*bridge\.client\.aio"):
        consume(handler)


class AsyncMemory(SeenInMemory):
    """Every event would count as handled: a coroutine is true."""

    async def has(self, event_id: str) -> bool:  # type: ignore[override]
        raise AssertionError("never awaited")


def test_async_memory_is_refused_like_an_async_handler() -> None:
    with pytest.raises(TypeError, match=r"seen\.has must be a plain function.*bridge\.client\.aio"):
        Consumer(URL, "q", seen=AsyncMemory())  # type: ignore[arg-type]


class NotBefore:
    """Can be awaited."""

    def __await__(self) -> Any:
        raise AssertionError("never awaited")


@pytest.mark.parametrize(
    "returned",
    [asynchronous(None), asynchronous_generator(None), generator(None), Future(), NotBefore()],
    ids=["coroutine", "async generator", "generator", "future", "awaitable"],
)
def test_handler_that_returns_an_awaitable_or_generator_is_refused(returned: object) -> None:
    with pytest.raises(TypeError, match=r"handler returned a \w+, so its work is not done.*not acknowledged"):
        check_finished("handler", returned)


@pytest.mark.parametrize("returned", [None, 0, True, "done", [], iter([]), range(3), object()])
def test_return_value_of_a_handler_is_ignored(returned: object) -> None:
    check_finished("handler", returned)


# -- the two clients -----------------------------------------------------------------------------------------------


def test_asyncio_client_has_the_same_names() -> None:
    assert aio.__all__ == bridge.client.__all__
    assert {name for name in aio.__all__ if getattr(aio, name) is not getattr(bridge.client, name)} == {
        "Client",
        "Consumer",
        "SeenEvents",
    }


@pytest.mark.parametrize("name", ["Client", "Consumer"])
def test_asyncio_client_takes_the_same_arguments(name: str) -> None:
    def surface(module: Any) -> dict[str, list[str]]:
        members = vars(getattr(module, name)).items()
        public = {key: value for key, value in members if inspect.isfunction(value) and key[0] != "_"}
        public["__init__"] = getattr(module, name).__init__
        return {
            key: [
                str(one.replace(annotation=one.empty)) for one in inspect.signature(value).parameters.values()
            ]
            for key, value in public.items()
        }

    assert surface(aio) == surface(bridge.client)


def test_asyncio_consumer_takes_async_handlers_and_memories_and_refuses_generators() -> None:
    aio.Consumer(URL, "q", seen=AsyncMemory())
    with pytest.raises(TypeError, match="handler must be a function without `yield`"):
        asyncio.run(aio.Consumer(URL, "q").run(asynchronous_generator))
