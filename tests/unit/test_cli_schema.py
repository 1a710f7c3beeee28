"""`bridge schema`: the contract, printed and written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from click.testing import CliRunner, Result

from bridge.cli import main
from bridge.cli.invocation import Invocation
from tests.harness.contract_documents import CAMEL_CASE, DOCUMENTS

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, ["schema", *arguments], obj=Invocation(environ=environ))


def test_without_a_name_it_prints_the_asyncapi_document() -> None:
    printed = run()

    assert printed.exit_code == 0
    assert printed.stdout == (DOCUMENTS / "asyncapi.json").read_text(encoding="utf-8")


def test_with_a_name_it_prints_that_schema() -> None:
    printed = run("sms.outbound.sent")

    assert printed.stdout == (DOCUMENTS / "schemas" / "sms.outbound.sent.json").read_text(encoding="utf-8")


def test_openapi_document_of_commands_over_http_has_a_name_too() -> None:
    printed = run("submit.openapi")

    assert printed.stdout == (DOCUMENTS / "submit.openapi.json").read_text(encoding="utf-8")


def test_json_is_the_same_on_one_line() -> None:
    printed = run("command", "--json")

    assert printed.stdout.count("\n") == 1
    assert json.loads(printed.stdout) == json.loads(run("command").stdout)


def test_unknown_name_is_an_error_that_lists_the_names() -> None:
    printed = run("sms.outbound.lost")

    assert printed.exit_code == 2
    assert "sms.outbound.sent, " in printed.stderr


def test_directory_gets_every_file(tmp_path: Path) -> None:
    printed = run("--directory", str(tmp_path / "contract"), BRIDGE_EVENTS__CAMEL_CASE="true")
    written = {
        str(path.relative_to(tmp_path / "contract")): path.read_text(encoding="utf-8")
        for path in tmp_path.glob("contract/**/*.json")
    }
    checked_in = {
        str(path.relative_to(DOCUMENTS / CAMEL_CASE)): path.read_text(encoding="utf-8")
        for path in (DOCUMENTS / CAMEL_CASE).glob("**/*.json")
    }

    assert written == checked_in
    assert sorted(printed.stdout.split()) == sorted(written)


def test_directory_gets_all_files_or_none(tmp_path: Path) -> None:
    assert run("command", "--directory", str(tmp_path)).exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_directory_that_cannot_be_written_is_a_failure_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "schemas").write_text("in the way")
    printed = run("--directory", str(tmp_path))

    assert printed.exit_code == 1
    assert "schemas" in printed.stderr


def test_document_uses_the_configured_names() -> None:
    document = json.loads(run(BRIDGE_BROKER__PREFIX="shop", BRIDGE_BROKER__DEAD_QUEUE="lost").stdout)
    channels = document["channels"]

    assert channels["commands"]["bindings"]["amqp"]["exchange"]["name"] == "shop.commands"
    assert channels["events"]["bindings"]["amqp"]["exchange"]["name"] == "shop.events"
    assert (channels["commandQueue"]["address"], channels["deadLetters"]["address"]) == ("shop.send", "lost")
    sent = document["components"]["messages"]["sms.outbound.sent"]["examples"][0]["payload"]
    assert sent["source"] == "/sms-bridge/shop"


def test_wrong_configuration_is_reported_as_by_other_commands() -> None:
    assert run(BRIDGE_BROKER__PREFIX="#").exit_code == 78
