"""`bridge schema`: the contract of the messages, for programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.exits import Failed
from bridge.cli.invocation import Invocation, config_option, json_option, pass_invocation
from bridge.cli.output import write_json, write_line

if TYPE_CHECKING:
    from bridge.domain.names import Names


@click.command()
@click.argument("name", required=False)
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write both documents and every JSON Schema into this directory instead.",
)
@json_option
@config_option
@pass_invocation
def schema(invocation: Invocation, *, name: str | None, directory: Path | None, as_json: bool) -> None:
    """Print the AsyncAPI document of commands and events, or the JSON Schema of NAME.

    A NAME is a type of event, such as sms.outbound.sent, or command, reply or dead-letter-headers; submit.openapi is
    the OpenAPI document of commands over HTTP. Exchanges, queues and the spelling of keys are those of the
    configuration. The output is always JSON; with --json it is on one line.
    """
    if directory is not None and name is not None:
        raise click.UsageError("--directory writes all schemas: remove NAME")
    settings = invocation.settings()
    names, camel_case = settings.broker.names, settings.events.camel_case
    if directory is not None:
        _write(directory, names, camel_case=camel_case, as_json=as_json)
        return
    document = _document(name, names, camel_case=camel_case)
    write_json(document, indent=None if as_json else 2)


def _document(name: str | None, names: Names, *, camel_case: bool) -> dict[str, Any]:
    from bridge.app.contract import SUBMIT, asyncapi_document, openapi_document, schema_documents

    if name is None:
        return asyncapi_document(names, camel_case=camel_case)
    documents = {
        **schema_documents(names, camel_case=camel_case),
        SUBMIT: openapi_document(camel_case=camel_case),
    }
    if name not in documents:
        raise click.UsageError(f"there is no schema {name}; there are {', '.join(documents)}")
    return documents[name]


def _write(directory: Path, names: Names, *, camel_case: bool, as_json: bool) -> None:
    from bridge.app.contract import contract_files

    files = contract_files(names, camel_case=camel_case)
    try:
        for path, text in files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failed(f"can't write {error.filename}: {error.strerror}") from error
    if as_json:
        write_json({"written": list(files)})
    for path in [] if as_json else files:
        write_line(path)
