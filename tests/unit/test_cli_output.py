"""Output of commands: any text, no control sequences, and the encoding of stdout."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.adapters.cpaas.values import ProviderMessage, ProviderThread
from bridge.cli import main
from bridge.cli.invocation import Invocation
from bridge.domain.dead_letters import DeadLetter
from bridge.domain.messages import Delivery
from bridge.domain.printable import repaired, to_json, visible, wants_colour
from bridge.ops.examination import CheckReport, fail
from tests.fakes.provider_account import FakeAccount
from tests.harness.text_strategies import ANY_TEXT
from tests.unit.test_cli import FakeUseCases, outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CLI = Path(__file__).parents[2] / "bridge" / "cli"
NUMBER = "+16131234567"
#: Settings for `subscriptions sync`.
ENVIRON = {
    "BRIDGE_SUBSCRIPTIONS__WEBHOOK_URL": "https://sms.example.com/hook",
    "BRIDGE_INGEST__AUTHORIZATION": "Bearer tangerine-4711",
}
#: Foreign texts with a cursor movement, a CSI of one byte, right-to-left text and a cleared line.
STEERING = "a\x1b[2J\x9b2J\u202eb\x7f\r\n\x00\u2066"


def encoded(charset: str, use_cases: FakeUseCases, *arguments: str) -> tuple[int, str]:
    """Run `bridge` with a stdout of that encoding; return its exit code and its output."""
    result = CliRunner(charset=charset).invoke(main, arguments, obj=Invocation(use_cases, ENVIRON))

    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout_bytes.decode(charset)


def letter(text: str) -> DeadLetter:
    return DeadLetter(
        delivery=Delivery(
            body=text.encode("utf-8", "surrogatepass"),
            tag=(0, 1),
            properties={"correlation_id": text},
            headers={"x-test": text},
        ),
        outcome="failed",
        reason=text,
        command_id=text,
        index=0,
        attempts=2,
        event_id="e-1",
        dead_at=None,
        sender=text,
        destinations=(text,),
        message=text,
    )


class Kept:
    """The part of `MessageHistory` that the command uses."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.complete = self.ended = True
        self.messages: Any = self._messages
        self.threads: Any = self._threads

    def _messages(self, _remote: str, _local: str) -> Kept:
        found = Kept(self._text)
        found.messages = [
            ProviderMessage(
                message_id=self._text,
                direction="inbound",
                text=self._text,
                status=self._text,
                remote_address=self._text,
                local_address=self._text,
                date_time=self._text,
                at=None,
            )
        ]
        return found

    def _threads(self, _remote: str | None) -> Kept:
        found = Kept(self._text)
        found.threads = [
            ProviderThread(
                remote_address=self._text, local_address=self._text, last_message_at=None, length=1
            )
        ]
        return found

    def status(self, _remote: str, _local: str, _message_id: str) -> str:
        return self._text


def subscribed(text: str) -> FakeAccount:
    account = FakeAccount()
    made = account.subscriptions.create(notify=text, number=None)
    account.subscriptions.kept[made.id] = replace(made, id=text)
    return account


#: The arguments of each command that prints foreign text, and the result with the text.
COMMANDS: dict[str, tuple[Sequence[str], Callable[[str], object]]] = {
    "send": (
        ("send", "--to", NUMBER, "--message", "hi", "--wait"),
        lambda text: [outcome(text, message_id=text, destination_address=text, error={"message": text})],
    ),
    "tail": (
        ("events", "tail", "--full"),
        lambda text: [{**outcome(text, destination_address=text), "id": text, "subject": text, "time": text}],
    ),
    "dead list": (("dead", "list", "--full"), lambda text: [letter(text)]),
    "dead show": (("dead", "show", "e-1", "--full"), lambda text: [letter(text)]),
    "dead show in part": (("dead", "show", "e-1"), lambda text: [letter(text)]),
    "history": (("history", "messages", NUMBER, "+16139998877", "--full"), Kept),
    "dead replay": (("dead", "replay", "e-1"), lambda text: [letter(text)]),
    "dead purge": (("dead", "purge", "e-1", "--yes"), lambda text: [letter(text)]),
    "history threads": (("history", "threads"), Kept),
    "history status": (("history", "status", NUMBER, "+16139998877", "m1"), Kept),
    "subscriptions create": (("subscriptions", "create", "--notify", STEERING), lambda _: FakeAccount()),
    "subscriptions sync": (("subscriptions", "sync", "--prune"), subscribed),
    "ledger": (("ledger", "show", "c1"), lambda text: {"id": text, "submissions": [{"message_id": text}]}),
    "subscriptions": (("subscriptions", "list"), subscribed),
    "topology": (("topology", "check"), lambda text: [text]),
    "doctor": (("doctor",), lambda text: [CheckReport("broker", fail(text, text))]),
}


@pytest.mark.parametrize("command", COMMANDS)
@settings(max_examples=25)
@given(text=ANY_TEXT, charset=st.sampled_from(["utf-8", "latin-1", "ascii"]))
def test_every_command_prints_any_text(command: str, text: str, charset: str) -> None:
    arguments, answer = COMMANDS[command]
    code, table = encoded(charset, FakeUseCases(answer(text)), *arguments)
    code_of_json, document = encoded(charset, FakeUseCases(answer(text)), *arguments, "--json")

    assert code == code_of_json
    assert table.replace("\n", "").isprintable()
    assert document.replace("\n", "").isprintable()
    assert document.isascii()
    assert json.loads(document)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_prints_control_sequences_of_a_text(command: str) -> None:
    arguments, answer = COMMANDS[command]
    _, table = encoded("utf-8", FakeUseCases(answer(STEERING)), *arguments)
    _, document = encoded("utf-8", FakeUseCases(answer(STEERING)), *arguments, "--json")

    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066]", table + document)


@pytest.mark.parametrize("charset", ["ascii", "latin-1"])
def test_outcome_of_an_sms_with_a_euro_sign_is_printed_in_any_encoding_of_stdout(charset: str) -> None:
    confirmed = [outcome(message="5 €", destination_address=NUMBER, message_id="€")]
    arguments = ("send", "--to", NUMBER, "--message", "5 €", "--id", "c€", "--wait")
    code, document = encoded(charset, FakeUseCases(confirmed), *arguments, "--json")
    code_of_plain, plain = encoded(charset, FakeUseCases(confirmed), *arguments)

    assert (code, code_of_plain) == (0, 0)
    assert json.loads(document) == {"id": "c€", "outcomes": confirmed}
    assert plain.splitlines() == ["c\\u20ac", f"sms.outbound.sent {NUMBER} \\u20ac"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["events", "tail"],
        ["catch-up"],
        ["subscriptions", "delete", "s1"],
        ["history", "delete", NUMBER, "+16139998877", "--yes"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("charset", ["utf-8", "ascii"])
def test_error_that_quotes_foreign_text_prints_no_control_sequences(
    arguments: list[str], charset: str
) -> None:
    error = ConnectionError(f"{STEERING}\ud83d")
    result = CliRunner(charset=charset).invoke(main, arguments, obj=Invocation(FakeUseCases(error), {}))

    assert result.exit_code == 69
    assert result.stderr.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "event",
    [
        {"type": "other.service", "data": {}},
        {"type": None, "time": {}, "subject": [], "id": 5, "data": {"destination_address": {}}},
        {"data": {"destinationAddress": NUMBER}},
    ],
)
def test_foreign_event_is_shown_and_the_command_continues(event: dict[str, Any]) -> None:
    code, table = encoded("utf-8", FakeUseCases([event, outcome()]), "events", "tail")

    assert code == 0
    assert len(table.splitlines()) == 3
    assert "sms.outbound.sent" in table.splitlines()[2]


def test_message_that_is_not_an_event_is_named_on_stderr() -> None:
    use_cases = FakeUseCases([outcome()])
    use_cases.skipped = ("skipped a message that is not an event: routing key x\x1b[2J, 3 bytes",)
    result = CliRunner().invoke(main, ["events", "tail", "--json"], obj=Invocation(use_cases, {}))

    assert json.loads(result.stdout) == outcome()
    assert result.stderr == "skipped a message that is not an event: routing key x\\u001b[2J, 3 bytes\n"


def test_outcomes_in_the_spelling_of_the_node_sdk_are_printed() -> None:
    confirmed = {**outcome(), "data": {"destinationAddress": NUMBER, "messageId": "SM1", "error": None}}
    _, plain = encoded(
        "utf-8", FakeUseCases([confirmed]), "send", "--to", NUMBER, "--message", "hi", "--wait"
    )

    assert plain.splitlines()[1] == f"sms.outbound.sent {NUMBER} SM1"


def test_commands_print_through_one_module() -> None:
    """A separate `click.echo` would print control sequences."""
    printing = re.compile(r"\bclick\.(echo|secho|style)\(|\bprint\(|sys\.std(out|err)\.write")
    found = [path.name for path in CLI.glob("*.py") if printing.search(path.read_text())]

    # requirements.py prints when click is not installed.
    assert sorted(found) == ["exits.py", "output.py", "requirements.py"]


@given(ANY_TEXT)
def test_text_is_printable_and_json_is_the_same_value(text: str) -> None:
    assert visible(text).isprintable()
    assert visible(visible(text)) == visible(text)
    assert json.loads(to_json(text)) == text


@given(
    st.recursive(ANY_TEXT | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner))
)
def test_text_repair_keeps_all_keys_and_valid_text(value: object) -> None:
    once = repaired(value)

    assert json.dumps(once, ensure_ascii=False).encode()
    assert repaired(once) == once
    if isinstance(value, dict):
        assert isinstance(once, dict)
        assert len(once) == len(value)


@pytest.mark.parametrize(
    ("environ", "is_terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
    ],
)
def test_colours_are_as_the_environment_says(
    environ: dict[str, str], is_terminal: bool, expected: bool
) -> None:
    assert wants_colour(environ, is_terminal=is_terminal) is expected


def test_doctor_prints_no_colours_where_no_color_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    use_cases = FakeUseCases([CheckReport("broker", fail("it is unavailable", "start it"))])
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    _, coloured = encoded("utf-8", use_cases, "doctor")
    monkeypatch.setenv("NO_COLOR", "1")
    _, plain = encoded("utf-8", use_cases, "doctor")

    assert "\x1b[31m" in coloured
    assert "fail" in plain
    assert plain.isascii()
    assert plain.replace("\n", "").isprintable()


def test_unknown_dead_letter_is_a_row_of_dashes() -> None:
    bare = replace(letter("x"), command_id=None, index=None, sender=None, reason=None, destinations=())
    _, table = encoded("utf-8", FakeUseCases([bare]), "dead", "list")

    assert table.splitlines()[1].split() == ["-", "failed", "-[*]", "2", "-", "-", "e-1", "-"]
