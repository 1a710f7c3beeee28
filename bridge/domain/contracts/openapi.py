"""The OpenAPI document of the door for commands (OpenAPI 3.1.0), whose schemas are those of the other papers."""

from __future__ import annotations

from bridge.domain import strict_json
from bridge.domain.command_parser import MAX_BODY, MAX_DEPTH
from bridge.domain.contracts import examples
from bridge.domain.contracts.commands import command_schema
from bridge.domain.contracts.shapes import Schema, Spelling
from bridge.domain.contracts.submit import ID, KEY, PATH, QUEUED, problem_schema, state_schema

#: The version of this contract: new statuses and keys do not raise it.
VERSION = "1"

_DESCRIPTION = (
    "Commands to send SMS, for services without AMQP. 202 means that the broker has confirmed the command: it will be "
    "sent once, whatever happens then. Whatever else is answered, hand the command over again or mend it, as the "
    "status says; with the same id it is one command, however often it comes. What becomes of it is told by events. "
    "This document is served nowhere. Not in it, since no operation has them: 404 on any other path, 405 with `Allow` "
    "for any other method; HEAD is answered as GET."
)
_AUTHORIZATION = (
    "The whole value of the header is compared, whatever its scheme, with those in `submit.authorization`."
)
_BODY = (
    f"At most {MAX_BODY // 1024} KiB, with a length or chunked, the last byte within 10 s of the headers. JSON by the "
    "letter of RFC 8259: UTF-8 without a byte order mark, no key twice, no number over "
    f"{strict_json.MAX_NUMBER_LENGTH} characters, at most {MAX_DEPTH} arrays and objects inside each other. The "
    "content type has to say so. The keys may be spelt in camelCase. What the workers' configuration says of "
    "commands, such as how many destinations one may have, holds here too."
)

_RETRY_AFTER: Schema = {
    "Retry-After": {"required": True, "schema": {"type": "string", "pattern": "^[0-9]+$"}},
}
_CHALLENGE: Schema = {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}}


def openapi_document(*, camel_case: bool) -> Schema:
    """Return the document, with the keys of an event's data spelt as configured."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "SMS Bridge submit", "version": VERSION, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "security": [{"authorization": []}],
        "paths": {PATH: {"post": _submit()}, f"{PATH}/{{id}}": {"get": _show()}},
        "components": {
            "securitySchemes": {
                "authorization": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": _AUTHORIZATION,
                }
            },
            "schemas": {
                "Command": command_schema(),
                "Queued": Spelling().schema(QUEUED),
                "State": state_schema(Spelling(camel_case=camel_case)),
                "Problem": problem_schema(),
            },
        },
    }


def _submit() -> Schema:
    return {
        "operationId": "submit",
        "summary": "Hand over one command.",
        "parameters": [
            _parameter(
                "Idempotency-Key",
                "header",
                KEY,
                "The command's id, where its body has none; where it has one it is the same. A string of structured "
                "fields (RFC 9651), that is in quotes, or without them where it has neither quotes, backslashes, "
                "spaces, commas nor semicolons.",
            ),
            _parameter(
                "traceparent",
                "header",
                {"type": "string", "examples": [examples.COMMAND_HEADERS["traceparent"]]},
                "W3C trace context, carried on to the provider and to the events. What is none is ignored.",
            ),
        ],
        "requestBody": {
            "required": True,
            "description": _BODY,
            "content": {"application/json": {"schema": _reference("Command"), "example": examples.COMMAND}},
        },
        "responses": {
            "202": {
                "description": "The broker has it. What becomes of it is told by events.",
                "headers": {
                    "Location": {
                        "required": True,
                        "description": "Where it can be asked for, once a worker has taken it up.",
                        "schema": {"type": "string", "pattern": f"^{PATH}/."},
                    }
                },
                "content": {"application/json": {"schema": _reference("Queued")}},
                "links": {
                    "state": {"operationId": "show", "parameters": {"id": "$response.body#/id"}},
                },
            },
            "400": _unreadable(
                "It is not JSON within the bounds, or no object, or has no id, or two that differ, or the "
                "Idempotency-Key is none; the detail says which."
            ),
            "401": _unauthorized(),
            "408": _problem("The body did not come in time; the connection ends."),
            "409": _problem(
                "The ledger knows another command by this id. Where it can't tell in time, or not yet, that is told by "
                "an event of type sms.outbound.invalid instead."
            ),
            "413": _problem("The body is too large, by its declared length or while it came."),
            "415": _problem(
                "The content type is missing, or not JSON, or the body has a `Content-Encoding`."
            ),
            "422": _problem("It is not a valid command: `errors` names each field."),
            "431": _head_too_large(),
            "503": _later(
                "The broker takes no commands now, or has no queue for them, or has not confirmed this one in time, so "
                "that it may be on the queue or not; or too many wait, or too many connections are open, and then this "
                "one ends. Hand it over again with the same id after `Retry-After` seconds."
            ),
        },
    }


def _show() -> Schema:
    return {
        "operationId": "show",
        "summary": "Show how far a command is.",
        "parameters": [{**_parameter("id", "path", ID, "What it is known by."), "required": True}],
        "responses": {
            "200": {
                "description": "What the ledger has of it.",
                "headers": {"Cache-Control": {"required": True, "schema": {"const": "no-store"}}},
                "content": {"application/json": {"schema": _reference("State")}},
            },
            "400": _unreadable(),
            "401": _unauthorized(),
            "404": _problem(
                "The ledger does not know it, or not yet: until a worker takes it up it waits on the queue. Else it "
                "was never handed over, was not valid, or ended longer ago than `ledger.retention`."
            ),
            "408": _problem("A body was announced and did not come in time; the connection ends."),
            "413": _problem("A body came that is too large."),
            "431": _head_too_large(),
            "503": _later(
                "The ledger can't be asked now, or too many ask, or too many connections are open, and then this one "
                "ends."
            ),
        },
    }


def _parameter(name: str, where: str, schema: Schema, meaning: str) -> dict[str, object]:
    return {"name": name, "in": where, "description": meaning, "schema": schema}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _problem(meaning: str, headers: Schema | None = None) -> Schema:
    documented: Schema = {
        "description": meaning,
        "content": {"application/problem+json": {"schema": _reference("Problem")}},
    }
    return documented if headers is None else {**documented, "headers": headers}


def _unreadable(meaning: str = "") -> Schema:
    content: dict[str, object] = {"text/plain": {"schema": {"type": "string"}}}
    if meaning:
        content = {"application/problem+json": {"schema": _reference("Problem")}, **content}
        meaning = f"{meaning} Or it"
    return {
        "description": f"{meaning or 'It'} is not HTTP: as plain text, and the connection ends.",
        "content": content,
    }


def _unauthorized() -> Schema:
    return _problem("The authorization is missing or wrong. Nothing else was looked at.", _CHALLENGE)


def _later(meaning: str) -> Schema:
    return _problem(meaning, _RETRY_AFTER)


def _head_too_large() -> Schema:
    return {"description": "Request line and headers are over 16 KiB; the connection ends."}
