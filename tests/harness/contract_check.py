"""Every message of the bridge that a test sees is held against the contract, and no key is left over.

What sees it calls `look_at` or `event_of`; a fixture in tests/conftest.py fails the test for what they found. They do
not fail it themselves: some run inside the bridge, on threads of its own.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from jsonschema_rs import Draft202012Validator

from bridge.domain.contracts import letters
from bridge.domain.contracts.documents import COMMAND, DEAD_LETTER_HEADERS, schemas
from bridge.domain.contracts.events import REPLY_PROPERTIES, TYPES, event_properties
from bridge.domain.contracts.shapes import Spelling
from bridge.domain.events import CONTENT_TYPE, TERMINAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: What was found and no test has been failed for yet.
violations: list[str] = []
#: How many a test is failed with at most.
SHOWN = 5


def event_of(body: bytes | str) -> Any:
    """Return an event as JSON, and note what in it is against the contract."""
    event = json.loads(body)
    violations.extend(_of_event(event))
    return event


def look_at(
    body: bytes,
    *,
    exchange: str,
    routing_key: str,
    properties: Mapping[str, object],
    headers: Mapping[str, object],
) -> None:
    """Note what in a message is against the contract, if it is the bridge's: an event, a reply or a dead letter."""
    if properties.get("content_type") == CONTENT_TYPE:
        violations.extend(of_message(body, exchange, routing_key, properties))
    elif exchange == "" and letters.OUTCOME in headers:
        violations.extend(of_letter(headers))


def of_message(
    body: bytes, exchange: str, routing_key: str, properties: Mapping[str, object]
) -> Iterator[str]:
    """Yield what in an event, or a reply, is against the contract."""
    event = json.loads(body)
    type_ = event.get("type")
    yield from _of_event(event)
    if type_ not in TYPES:
        return
    is_reply = exchange == "" and "timestamp" not in properties
    if is_reply and type_ not in TERMINAL:
        yield f"{type_} came as a reply"
    if exchange and routing_key != type_:
        yield f"{type_} came with the routing key {routing_key}"
    if (properties.get("message_id"), properties.get("type")) != (event["id"], type_):
        yield f"{type_} has another id or type in its properties: {properties}"
    if not is_reply and properties.get("correlation_id") != _correlation(event.get("subject")):
        yield f"{type_} has another correlation_id than its subject {event.get('subject')}: {properties}"
    plain = {name: _plain(value) for name, value in properties.items()}
    for error in _properties("" if is_reply else type_).iter_errors(plain):
        yield f"properties of {type_}: {error.message}"


def of_letter(headers: Mapping[str, object]) -> Iterator[str]:
    """Yield what in the headers of a dead letter is against the contract."""
    own = {name: value for name, value in headers.items() if name in letters.HEADERS.names}
    for error in _validators(camel_case=False)[DEAD_LETTER_HEADERS].iter_errors(own):
        yield f"headers of a dead letter: {error.message}"


def _correlation(subject: str | None) -> str | None:
    """Return what stands for a subject: none where AMQP's short strings (0-9-1 section 4.2.5.3) are too short."""
    return None if subject is None or len(subject.encode()) > 255 else subject


def is_command(document: object) -> bool:
    """Whether a document is a command."""
    return Draft202012Validator(schemas(Spelling())[COMMAND]).is_valid(document)


def _of_event(event: Any) -> Iterator[str]:
    type_ = event.get("type") if isinstance(event, dict) else None
    if type_ is None or type_ not in TYPES:
        yield f"no such type: {type_}"
        return
    snake = _validators(camel_case=False)[type_]
    if snake.is_valid(event) or _validators(camel_case=True)[type_].is_valid(event):
        return
    for error in snake.iter_errors(event):
        yield f"{type_} at {'.'.join(map(str, error.instance_path))}: {error.message}"


@cache
def _validators(*, camel_case: bool) -> Mapping[str, Draft202012Validator]:
    spelling = Spelling(camel_case=camel_case, closed=True)
    return {name: Draft202012Validator(schema) for name, schema in schemas(spelling).items()}


@cache
def _properties(type_: str) -> Draft202012Validator:
    """Return what judges the AMQP properties of the events of a type; of replies for none."""
    shape = event_properties(type_) if type_ else REPLY_PROPERTIES
    return Draft202012Validator(Spelling(closed=True).schema(shape))


def _plain(value: object) -> object:
    """Return a property as AMQP has it: py-amqp makes times of timestamps, in UTC without saying so."""
    return int(value.replace(tzinfo=UTC).timestamp()) if isinstance(value, datetime) else value
