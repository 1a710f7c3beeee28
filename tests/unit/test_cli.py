"""The command line: arguments, output and exit codes."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from bridge.app.oneshot import refusals
from bridge.app.subscriptions import declared_subscriptions
from bridge.cli import main
from bridge.cli.invocation import Invocation
from bridge.domain.answers import ProviderError
from bridge.domain.errors import BridgeError
from bridge.ops.examination import CheckReport, fail
from bridge.ports import LedgerUnavailable
from bridge.ports.provider_errors import CallRefused, CpaasError, Unauthorized, Unreachable
from bridge.settings import SettingProblem, Settings, SettingsError
from tests.fakes.provider_account import FakeAccount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bridge.ports import Progress

BRIDGE = Path(sys.executable).with_name("bridge")


def outcome(type_: str = "sms.outbound.sent", **data: object) -> dict[str, Any]:
    return {
        "id": "e1",
        "type": type_,
        "time": "2026-01-01T00:00:00.000Z",
        "subject": "c1",
        "data": {"destination_address": "+16131234567", "message_id": "SM1", "error": None, **data},
    }


class FakeUseCases:
    """A fake of each use case of `bridge.app` that records its calls and returns the test's results."""

    refusals, declared_subscriptions = staticmethod(refusals), staticmethod(declared_subscriptions)

    def __init__(self, answer: object = 0) -> None:
        self.answer = answer
        #: The name of each called use case, and its arguments without functions.
        self.asked: list[tuple[str, tuple[Any, ...]]] = []
        self.settings = Settings()
        #: Number of commands in the queue.
        self.waiting: int | None = 0
        #: The result of `check_members`.
        self.members: tuple[Sequence[str], str | None] | Exception = ([], None)
        #: The reason for which `tail_events` skips messages.
        self.skipped: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        return partial(self._answer, name)

    def _answer(
        self,
        name: str,
        settings: Settings,
        *arguments: object,
        progress: Progress | None = None,
        **options: object,
    ) -> Any:
        if progress is not None:
            progress(1, 3)
        self.settings = settings
        given = (*arguments, *options.values())
        self.asked.append((name, tuple(one for one in given if not callable(one))))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def tail_events(self, settings: Settings, keys: Sequence[str], skipped: Callable[[str], None]) -> Any:
        for reason in self.skipped:
            skipped(reason)
        return self._answer("tail_events", settings, keys)

    def check_members(self, _: Settings) -> tuple[Sequence[str], str | None]:
        if isinstance(self.members, Exception):
            raise self.members
        return self.members

    def waiting_commands(self, _: Settings) -> int | None:
        return self.waiting

    def unusable_here(self, settings: Settings) -> Any:
        return self._answer("unusable_here", settings) or ()


def run(
    *arguments: str,
    use_cases: FakeUseCases | None = None,
    environ: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> Result:
    invocation = Invocation(use_cases or FakeUseCases(), environ or {})
    return CliRunner().invoke(main, arguments, obj=invocation, input=stdin)


def cells(result: Result) -> list[list[str]]:
    """Return a table as it was printed, its header first."""
    return [line.split() for line in result.stdout.splitlines()]


def sent_by(*arguments: str, stdin: bytes = b"") -> dict[str, Any]:
    use_cases = FakeUseCases([])
    assert run("send", *arguments, use_cases=use_cases, stdin=stdin).exit_code == 0
    [(_, (command, _))] = use_cases.asked
    assert isinstance(command, dict)
    return command


@pytest.mark.parametrize("command", ["up", "worker", "ingest", "simulator"])
@pytest.mark.parametrize("code", [0, 1, 69, 78])
def test_process_command_exits_with_the_code_of_its_process(command: str, code: int) -> None:
    use_cases = FakeUseCases(code)
    result = run(command, use_cases=use_cases)

    assert result.exit_code == code
    assert [name for name, _ in use_cases.asked] == [f"run_{command}"]


@pytest.mark.parametrize(
    ("command", "section"), [("up", "ingest"), ("ingest", "ingest"), ("worker", "admin")]
)
def test_host_and_port_options_override_the_environment(command: str, section: str) -> None:
    use_cases = FakeUseCases(0)
    environ = {f"BRIDGE_{section.upper()}__PORT": "1", f"BRIDGE_{section.upper()}__HOST": "127.0.0.9"}
    result = run(command, "--host", "127.0.0.2", "--port", "1234", use_cases=use_cases, environ=environ)

    assert result.exit_code == 0
    assert getattr(use_cases.settings, section).host == "127.0.0.2"
    assert getattr(use_cases.settings, section).port == 1234


def test_public_host_without_authorization_is_a_configuration_error() -> None:
    result = run("ingest", "--host", "0.0.0.0")  # noqa: S104 - refused

    assert result.exit_code == 78
    assert "ingest.host: must be a loopback address" in result.stderr


def test_simulator_listens_on_the_given_host_and_port() -> None:
    use_cases = FakeUseCases(0)
    run("simulator", "--port", "0", "--number", "+16139998877", use_cases=use_cases)

    assert use_cases.asked == [("run_simulator", ("127.0.0.1", 0, None, ("+16139998877",), False))]


def test_every_configuration_error_is_printed_on_its_own_line() -> None:
    use_cases = FakeUseCases()
    environ = {"BRIDGE_WORKER__LEASE": "long", "BRIDGE_BROKR__URL": "x"}
    result = run("worker", use_cases=use_cases, environ=environ)

    assert result.exit_code == 78
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "BRIDGE_BROKR__URL: unknown variable; did you mean BRIDGE_BROKER__URL? (from environment)",
        "worker.lease: must be a valid number, unable to parse string as a number (from BRIDGE_WORKER__LEASE)",
    ]
    assert use_cases.asked == []


def test_missing_setting_is_a_configuration_error() -> None:
    use_cases = FakeUseCases(SettingsError([SettingProblem("broker.url", "is needed")]))
    result = run("worker", use_cases=use_cases)

    assert (result.exit_code, result.stderr) == (78, "broker.url: is needed\n")


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError(111, "refused"), TimeoutError("no answer"), LedgerUnavailable("locked")]
)
@pytest.mark.parametrize(
    "arguments",
    [["send", "--to", "+16131234567", "--message", "hi"], ["topology", "check"], ["events", "tail"]],
)
def test_unreachable_service_exits_69(arguments: list[str], error: Exception) -> None:
    result = run(*arguments, use_cases=FakeUseCases(error))

    assert result.exit_code == 69
    assert result.stderr.startswith("Error: ")


def test_bridge_error_exits_1_with_its_message() -> None:
    result = run("ingest", use_cases=FakeUseCases(BridgeError("can't listen there")))

    assert (result.exit_code, result.stderr) == (1, "Error: can't listen there\n")


def test_output_to_a_full_disk_exits_1_without_a_traceback() -> None:
    result = run("events", "tail", use_cases=FakeUseCases(OSError(errno.ENOSPC, "No space left on device")))

    assert (result.exit_code, result.stderr) == (
        1,
        "Error: can't write the output: No space left on device\n",
    )


def test_closed_pipe_is_not_reported_as_an_unavailable_service() -> None:
    result = run("events", "tail", use_cases=FakeUseCases(BrokenPipeError(errno.EPIPE, "Broken pipe")))

    assert (result.exit_code, result.stderr) == (1, "")


@pytest.mark.parametrize(
    "arguments", [["send"], ["nonsense"], ["worker", "--port", "x"], ["events", "tail", "--count", "0"]]
)
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_sent_command_has_the_fields_of_the_contract() -> None:
    command = sent_by(
        "--to", "+16131234567", "--to", "+16131234568", "--from", "+16139998877", "--message", "hi", "--id", "c1",
        "--send-at", "2026-01-01T00:00:00Z", "--expires-at", "2026-01-02T00:00:00Z", "--metadata", "order=1=2",
    )  # fmt: skip

    assert command == {
        "id": "c1",
        "destination_address": ["+16131234567", "+16131234568"],
        "sender_address": "+16139998877",
        "message": "hi",
        "send_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-02T00:00:00Z",
        "metadata": {"order": "1=2"},
    }


def test_sent_command_has_a_new_id_and_no_unset_fields() -> None:
    first = sent_by("--to", "+16131234567", "--message", "hi")
    second = sent_by("--to", "+16131234567", "--message", "hi")

    assert set(first) == {"id", "destination_address", "message"}
    assert first["id"] != second["id"]


def test_message_of_a_dash_is_read_from_standard_input() -> None:
    command = sent_by("--to", "+16131234567", "--message", "-", stdin="grüß\ndich\n".encode())

    assert command["message"] == "grüß\ndich"


def test_message_that_is_not_utf_8_is_a_usage_error_and_not_shown() -> None:
    result = run("send", "--to", "+16131234567", "--message", "-", stdin=b"canary\xff")

    assert result.exit_code == 2
    assert "canary" not in result.output


@pytest.mark.parametrize("pair", ["novalue", "=value"])
def test_metadata_option_accepts_pairs(pair: str) -> None:
    assert run("send", "--to", "+16131234567", "--message", "hi", "--metadata", pair).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "outcomes", "code"),
    [
        ([], [], 0),
        (["--wait"], [outcome()], 0),
        (["--wait", "5"], [], 75),
        (["--wait=5"], [outcome("sms.outbound.rejected")], 1),
        (["--wait", "--to", "+16131234568"], [outcome()], 75),
        (["--wait", "--to", "+16131234568"], [outcome(), outcome()], 0),
        (["--wait", "--to", "+16131234568"], [outcome(), outcome("sms.outbound.failed")], 1),
        (["--wait", "--to", "+16131234568"], [outcome("sms.outbound.invalid")], 1),
    ],
)
def test_send_exits_with_the_outcome(arguments: list[str], outcomes: list[dict[str, Any]], code: int) -> None:
    use_cases = FakeUseCases(outcomes)
    result = run("send", "--to", "+16131234567", "--message", "hi", *arguments, use_cases=use_cases)

    assert result.exit_code == code


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--to", "hello"], "--to is not"),
        (["--to", "+16131234567", "--to", "hello"], "--to[1] is not"),
        (["--to", "+16131234567", "--to", "+16131234567"], "--to[1] is the same number"),
        (["--from", "somebody"], "--from is not"),
        (["--message", ""], "--message is empty"),
        (["--send-at", "in 1 hour"], "--send-at is not an RFC 3339 time"),
        (["--expires-at", "2030-01-01"], "--expires-at is not an RFC 3339 time"),
        (["--id", "x" * 129], "--id is not a string of 1 to 128"),
        (["--id", "a\nb"], "--id is not a string of 1 to 128"),
        (["--metadata", "a=\udc80"], "--metadata is not"),
    ],
)
def test_invalid_command_is_a_usage_error_and_not_published(options: list[str], named: str) -> None:
    given = dict(zip(options[::2], options[1::2], strict=True))
    needed = {"--to": "+16131234567", "--message": "hi"}
    rest = [part for name, value in needed.items() if name not in given for part in (name, value)]
    use_cases = FakeUseCases([])
    result = run("send", *options, *rest, use_cases=use_cases)

    assert result.exit_code == 2
    assert named in result.stderr
    assert use_cases.asked == []


def test_number_is_parsed_by_the_configured_region() -> None:
    arguments = ("send", "--to", "0151 23456789", "--message", "hi")
    german = {"BRIDGE_ADDRESSES__DEFAULT_REGION": "DE"}

    assert run(*arguments, use_cases=FakeUseCases([])).exit_code == 2
    assert (
        run(
            "send", "--to", "015123456789", "--message", "hi", environ=german, use_cases=FakeUseCases([])
        ).exit_code
        == 0
    )


def test_send_without_an_outcome_prints_the_state_and_a_hint_to_stderr() -> None:
    result = run(
        "send",
        "--to",
        "+16131234567",
        "--message",
        "hi",
        "--id",
        "c1",
        "--wait=5",
        use_cases=FakeUseCases([]),
    )

    assert (result.exit_code, result.stdout) == (75, "c1\n")
    assert "0 of 1 outcomes came within 5 s; the broker has the command" in result.stderr
    assert "bridge ledger show c1" in result.stderr


def test_command_that_may_be_queued_is_repeated_by_its_id() -> None:
    arguments = ("send", "--to", "+16131234567", "--message", "hi")
    result = run(*arguments, use_cases=FakeUseCases(ConnectionError("no confirm within 10 s")))

    assert (result.exit_code, result.stdout) == (69, "")
    assert re.search("no confirm within 10 s; .* send .* again with --id [0-9a-f-]{36}: ", result.stderr)


@pytest.mark.parametrize("came", [[], ConnectionError("no confirm within 10 s")])
def test_id_that_contains_a_number_is_neither_shown_nor_masked(came: object) -> None:
    result = run(
        *("send", "--to", "+16131234567", "--message", "hi", "--id", "order-16131234567", "--wait=5"),
        use_cases=FakeUseCases(came),
    )

    assert "with the id that you gave" in result.stderr
    assert "order-" not in result.stderr


def test_send_prints_the_time_that_it_waits() -> None:
    for arguments, seconds in ([], None), (["--wait", "2.5"], 2.5), (["--wait"], 30.0):
        use_cases = FakeUseCases([])
        run("send", "--to", "+16131234567", "--message", "hi", *arguments, use_cases=use_cases)

        assert use_cases.asked[0][1][1] == seconds


def test_send_prints_the_id_and_the_outcomes() -> None:
    refused = outcome("sms.outbound.rejected", message_id=None, error={"name": "x", "message": "no"})
    arguments = ["send", "--to", "+16131234567", "--message", "hi", "--id", "c1", "--wait"]
    plain = run(*arguments, use_cases=FakeUseCases([outcome(), refused]))
    as_json = run(*arguments, "--json", use_cases=FakeUseCases([outcome()]))

    assert plain.stdout.splitlines() == [
        "c1",
        "sms.outbound.sent +16131234567 SM1",
        "sms.outbound.rejected +16131234567 no",
    ]
    assert json.loads(as_json.stdout) == {"id": "c1", "outcomes": [outcome()]}


def test_tail_prints_one_event_a_line_and_stops_at_the_count() -> None:
    use_cases = FakeUseCases([outcome()] * 3)
    plain = run("events", "tail", "--count", "2", use_cases=use_cases)
    as_json = run(
        "events", "tail", "--key", "sms.inbound.*", "--key", "sms.message.*", "--json", use_cases=use_cases
    )

    assert cells(plain) == [
        ["TIME", "TYPE", "SUBJECT", "DESTINATION", "ID"],
        *[["2026-01-01T00:00:00.000Z", "sms.outbound.sent", "c1", "***4567", "e1"]] * 2,
    ]
    assert [json.loads(line) for line in as_json.stdout.splitlines()] == [outcome()] * 3
    assert use_cases.asked == [
        ("tail_events", (("#",),)),
        ("tail_events", (("sms.inbound.*", "sms.message.*"),)),
    ]


@pytest.mark.parametrize(
    ("differences", "members", "code", "stdout", "stderr"),
    [
        ([], (["q: 1 member"], None), 1, "q: 1 member\n", ""),
        ([], ([], "q: not seen"), 0, "", "Note: q: not seen\n"),
        (["q is missing"], ConnectionError("401"), 1, "q is missing\n", "queues were not checked: 401\n"),
        ([], ConnectionError("401"), 69, "", "queues were not checked: 401\n"),
    ],
)  # fmt: skip
def test_topology_differences_are_printed_when_members_are_not_visible(
    differences: list[str],
    members: tuple[list[str], str | None] | Exception,
    code: int,
    stdout: str,
    stderr: str,
) -> None:
    use_cases = FakeUseCases(differences)
    use_cases.members = members
    result = run("topology", "check", use_cases=use_cases)

    assert (result.exit_code, result.stdout) == (code, stdout)
    assert result.stderr.endswith(stderr)


def test_doctor_shows_the_hosts_of_configured_addresses_whole() -> None:
    seen = "broker ip-10-213-7-12:5672 can't be reached; +16131234567"
    use_cases = FakeUseCases([CheckReport("broker", fail(seen, "start it"))])
    result = run(
        "doctor", environ={"BRIDGE_BROKER__URL": "amqp://u:p@ip-10-213-7-12/sms"}, use_cases=use_cases
    )

    assert "broker ip-10-213-7-12:5672 can't be reached; ***4567" in result.stdout


def test_topology_prints_the_declared_objects() -> None:
    result = run("topology", "declare", use_cases=FakeUseCases(["sms.commands", "sms.send"]))

    assert (result.exit_code, result.stdout) == (0, "sms.commands\nsms.send\n")


@pytest.mark.parametrize(("differences", "code"), [([], 0), (["sms.send is missing"], 1)])
def test_topology_difference_is_a_failure(differences: list[str], code: int) -> None:
    plain = run("topology", "check", use_cases=FakeUseCases(differences))
    as_json = run("topology", "check", "--json", use_cases=FakeUseCases(differences))

    assert plain.exit_code == as_json.exit_code == code
    assert plain.stdout.splitlines() == differences
    assert json.loads(as_json.stdout) == {"differences": differences}


def test_config_show_prints_a_configuration_file_with_secrets_masked() -> None:
    environ = {
        "BRIDGE_BROKER__URL": "amqp://bridge:canary@rabbit/sms",
        "BRIDGE_INGEST__AUTHORIZATION": "canary,canary2",
        "BRIDGE_SUBSCRIPTIONS__NUMBERS": "+16139998877",
        "BRIDGE_SUBSCRIPTIONS__WEBHOOK_URL": "https://hooks.example/in?token=canary&place=canary",
        "BRIDGE_TRACING__ENDPOINT": "http://u:canary@collector:4318/v1/traces",
    }
    plain = run("config", "show", environ=environ)
    as_json = run("config", "show", "--json", environ=environ)

    assert "canary" not in plain.output + as_json.output
    assert tomllib.loads(plain.stdout)["broker"]["url"] == ["amqp://bridge:***@rabbit/sms"]
    assert tomllib.loads(plain.stdout)["tracing"]["endpoint"] == "http://u:***@collector:4318/v1/traces"
    assert tomllib.loads(plain.stdout)["subscriptions"]["numbers"] == ["+16139998877"]
    assert json.loads(as_json.stdout)["broker"]["events_exchange"] == "sms.events"


def test_config_check_reports_errors_as_json() -> None:
    environ = {"BRIDGE_WORKER__LEASE": "0"}
    good = run("config", "check", "--json")
    bad = run("config", "check", "--json", environ=environ)

    assert (good.exit_code, json.loads(good.stdout)) == (0, {"problems": []})
    assert bad.exit_code == 78
    assert json.loads(bad.stdout)["problems"] == [
        {"path": "worker.lease", "reason": "must be greater than 0", "origin": "BRIDGE_WORKER__LEASE"}
    ]


def test_config_check_reports_missing_resources_of_the_machine() -> None:
    result = run(
        "config", "check", use_cases=FakeUseCases([SettingProblem("ingest.tls_key", "/k is not there")])
    )

    assert (result.exit_code, result.stderr) == (78, "ingest.tls_key: /k is not there\n")


def test_configuration_file_option_is_accepted_before_and_after_the_command(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).write_text(f'[broker]\nprefix = "{name}"\n', encoding="utf-8")
    for arguments, prefix in [
        (["--config", "first", "worker"], "first"),
        (["worker", "--config", "second"], "second"),
        (["--config", "first", "worker", "--config", "second"], "second"),
    ]:
        use_cases = FakeUseCases(0)
        run(
            *[str(tmp_path / one) if one in {"first", "second"} else one for one in arguments],
            use_cases=use_cases,
        )

        assert use_cases.settings.broker.prefix == prefix


WEBHOOK = {
    "BRIDGE_SUBSCRIPTIONS__WEBHOOK_URL": "https://bridge.example/hook",
    "BRIDGE_INGEST__AUTHORIZATION": "new, old",
}


def test_subscription_uses_one_channel_to_the_configured_webhook() -> None:
    provider = FakeAccount()
    first = run("subscriptions", "create", use_cases=FakeUseCases(provider), environ=WEBHOOK)
    second = run("subscriptions", "create", "+16139998878", use_cases=FakeUseCases(provider), environ=WEBHOOK)

    assert cells(first)[1:] == [["s1", "+16139998877", "wh-0"]]
    assert cells(second)[1:] == [["s2", "+16139998878", "wh-0"]]
    assert [channel.authorization for channel in provider.channels.list()] == ["new"]


def test_channel_with_another_authorization_is_not_used() -> None:
    provider = FakeAccount()
    provider.channels.create(webhook_url="https://bridge.example/hook", authorization="stolen")
    result = run("subscriptions", "create", use_cases=FakeUseCases(provider), environ=WEBHOOK)

    assert cells(result)[1:] == [["s2", "+16139998877", "wh-1"]]


def test_subscription_can_use_a_channel_by_its_callback() -> None:
    provider = FakeAccount()
    run("subscriptions", "create", "--notify", "wh-mine", use_cases=FakeUseCases(provider))

    assert [one.notify for one in provider.subscriptions.list()] == ["wh-mine"]
    assert provider.channels.kept == {}


def test_subscription_without_a_webhook_is_a_usage_error() -> None:
    assert run("subscriptions", "create", use_cases=FakeUseCases(FakeAccount())).exit_code == 2


def synced(provider: FakeAccount, *options: str, **environ: str) -> list[str]:
    result = run(
        "subscriptions", "sync", *options, use_cases=FakeUseCases(provider), environ={**WEBHOOK, **environ}
    )

    assert result.exit_code == 0
    return [" ".join(line) for line in cells(result)]


def test_sync_reports_its_changes_and_a_second_sync_reports_none() -> None:
    provider = FakeAccount()
    planned = synced(provider, "--dry-run")
    calls = provider.calls.copy()
    first, second = synced(provider), synced(provider)

    assert planned[0] == "ACTION WHAT ID DESTINATION REASON"
    assert planned[1:] == ["make channel - - -", "make subscription - - -"]
    assert calls == ["list", "list"]
    assert first[1:] == ["make channel c0 - -", "make subscription s1 +16139998877 -"]
    assert second[1:] == ["keep channel c0 - -", "keep subscription s1 +16139998877 -"]


def test_sync_prints_no_secret_in_any_form() -> None:
    provider = FakeAccount()
    provider.channels.create(webhook_url="https://bridge.example/hook", authorization="hunter2")
    environ = {"BRIDGE_INGEST__AUTHORIZATION": "tangerine"}
    confirmed = [
        synced(provider, *options, **environ)
        for options in (["--dry-run", "--prune"], ["--json"], ["--prune", "--json"], ["--json"])
    ]

    assert not re.search("hunter2|tangerine", str(confirmed))
    assert "its channel is stale" not in str(confirmed)
    assert json.loads(confirmed[2][0])[-1] == {
        "action": "remove",
        "what": "channel",
        "id": "c0",
        "destination_address": None,
        "reason": "it has another authorization",
    }


def test_failed_step_of_a_sync_exits_1_and_the_other_steps_are_done() -> None:
    provider = FakeAccount()
    environ = {**WEBHOOK, "BRIDGE_SUBSCRIPTIONS__NUMBERS": "+16135550000,+16139998878"}
    result = run("subscriptions", "sync", use_cases=FakeUseCases(provider), environ=environ)

    assert result.exit_code == 1
    assert [" ".join(line) for line in cells(result)[1:]] == [
        "make channel c0 - -",
        "fail subscription - +16135550000 the provider refuses the call (403)",
        "make subscription s1 +16139998878 -",
    ]
    assert result.stderr == "Error: 1 of 3 steps failed\n"


@pytest.mark.parametrize(
    ("environ", "mistake"),
    [
        ({}, "subscriptions.webhook_url: is missing"),
        ({**WEBHOOK, "BRIDGE_SUBSCRIPTIONS__NUMBERS": "6139998877"}, "subscriptions.numbers: must be +E.164"),
        (
            {"BRIDGE_SUBSCRIPTIONS__WEBHOOK_URL": "http://bridge.example/hook"},
            "subscriptions.webhook_url: must begin with https://",
        ),
    ],
)
def test_sync_without_a_usable_webhook_is_a_configuration_error(
    environ: dict[str, str], mistake: str
) -> None:
    provider = FakeAccount()
    result = run("subscriptions", "sync", use_cases=FakeUseCases(provider), environ=environ)

    assert (result.exit_code, result.stdout) == (78, "")
    assert result.stderr.startswith(mistake)
    assert provider.calls == []


def test_sync_exits_with_a_temporary_failure_when_the_provider_is_unreachable() -> None:
    provider = FakeAccount()
    provider.broken = Unreachable("no answer", ProviderError(name="http"))
    result = run("subscriptions", "sync", use_cases=FakeUseCases(provider), environ=WEBHOOK)

    assert result.exit_code == 69


def test_subscriptions_are_listed_and_deleted() -> None:
    provider = FakeAccount()
    for number in ("+16139998877", "+16139998878"):
        provider.subscriptions.create(notify="wh-1", number=number)
    plain = run("subscriptions", "list", use_cases=FakeUseCases(provider))
    as_json = run("subscriptions", "list", "--json", use_cases=FakeUseCases(provider))
    deleted = run("subscriptions", "delete", "s0", "s9", use_cases=FakeUseCases(provider))

    assert cells(plain) == [
        ["ID", "DESTINATION", "NOTIFY"],
        ["s0", "+16139998877", "wh-1"],
        ["s1", "+16139998878", "wh-1"],
    ]
    assert json.loads(as_json.stdout)[0] == {
        "id": "s0",
        "destination_address": "+16139998877",
        "notify": "wh-1",
    }
    assert deleted.exit_code == 0
    assert list(provider.subscriptions.kept) == ["s1"]


@pytest.mark.parametrize(("error", "code"), [(Unreachable, 69), (CallRefused, 1), (Unauthorized, 1)])
def test_provider_error_has_its_exit_code(error: type[CpaasError], code: int) -> None:
    use_cases = FakeUseCases(error("not now", ProviderError(name="http", http_status=503)))
    result = run("subscriptions", "list", use_cases=use_cases)

    assert result.exit_code == code
    assert result.stderr.endswith("not now (503)\n")
    assert ("cpaas.base_url" in result.stderr) == (error is Unreachable)


def every_command(group: Any = main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from every_command(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("command", list(every_command()), ids=" ".join)
def test_every_command_has_help_and_takes_a_configuration(command: tuple[str, ...]) -> None:
    result = run(*command, "--help")

    assert result.exit_code == 0
    assert "--config FILE" in result.stdout


def child(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the installed `bridge` without any configuration but `environ`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")}
    return subprocess.run(
        [BRIDGE, *arguments], env=clean | environ, capture_output=True, text=True, timeout=60, check=False
    )


def test_installed_command_prints_data_to_stdout_and_errors_to_stderr() -> None:
    good = child("config", "show", "--json")
    bad = child("config", "show", BRIDGE_WORKER__LEASE="x")

    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)["broker"]["prefix"] == "sms"
    assert (bad.returncode, bad.stdout) == (78, "")
    assert bad.stderr.startswith("worker.lease: ")


def test_installed_command_has_a_version() -> None:
    assert re.fullmatch(r"bridge, version \d+\.\d+\.\d+(\.dev\d+\S*)?\n", child("--version").stdout)
