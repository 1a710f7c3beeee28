"""The log: its format, and values that never appear in it."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.masks import show_id
from bridge.ops.logs import configure, redact
from bridge.settings import LogSettings, load
from bridge.settings.hosts import configured_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBER = "+16139998877"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Capture the log, and restore the process afterwards."""
    handlers, level = logging.root.handlers, logging.root.level
    hooks = sys.excepthook, threading.excepthook
    yield io.StringIO()
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    logging.root.handlers, logging.root.level = handlers, level
    sys.excepthook, threading.excepthook = hooks


def _no_space(_text: str) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_hosts_of_the_configured_addresses_are_shown_whole(stream: io.StringIO) -> None:
    settings = load(
        {
            "broker": {"url": ["amqp://u:p@ip-10-213-7-12", "amqp://u:p@rabbit-20261130.example"]},
            "ledger": {"url": "postgresql://u@db-1234567,db-7654321/sms"},
        },
        {},
        lambda name: name,
    )
    said = "broker ip-10-213-7-12:5672, rabbit@rabbit-20261130, db-7654321: +16139998877"
    configure(LogSettings(), stream, hosts=configured_hosts(settings))
    structlog.get_logger().warning("broker.unreachable", reason=said)
    configure(LogSettings(), stream)
    structlog.get_logger().warning("broker.unreachable", reason="broker ip-10-213-7-12:5672")

    assert [line["reason"] for line in lines(stream)] == [
        said.replace(NUMBER, "***8877"),
        "broker ip-***3712:5672",
    ]


def test_line_is_json_with_level_time_and_fields(stream: io.StringIO) -> None:
    configure(LogSettings(), stream)
    structlog.get_logger().info("command.settled", attempts=2, outcome="sent")

    [line] = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "command.settled", "level": "info", "attempts": 2, "outcome": "sent"}


def test_lines_of_one_process_among_several_have_its_number(stream: io.StringIO) -> None:
    configure(LogSettings(), stream, process=2)
    speakers = [
        threading.Thread(target=structlog.get_logger().info, args=("command.settled",)),
        threading.Thread(target=logging.getLogger("kombu").warning, args=("a library",)),  # noqa: TID251 - it does
    ]
    for speaker in speakers:
        speaker.start()
        speaker.join()

    assert [(line["event"], line["process"]) for line in lines(stream)] == [
        ("command.settled", 2),
        ("library.logged", 2),
    ]


def test_line_is_lost_on_a_full_disk_and_the_next_is_written(stream: io.StringIO) -> None:
    capacity = stream.write
    configure(LogSettings(), stream)
    stream.write = _no_space  # type: ignore[method-assign]
    structlog.get_logger().info("command.settled")
    stream.write = capacity  # type: ignore[method-assign]
    structlog.get_logger().info("worker.stopped")

    assert [line["event"] for line in lines(stream)] == ["worker.stopped"]


def test_process_with_a_full_log_disk_continues_and_exits_0() -> None:
    program = (
        "import structlog; from bridge.ops.logs import configure; from bridge.settings import LogSettings; "
        "configure(LogSettings()); structlog.get_logger().info('worker.started'); print('went on')"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=full, check=False
        )

    assert (done.returncode, done.stdout) == (0, b"went on\n")


def test_lines_below_the_level_are_not_written(stream: io.StringIO) -> None:
    configure(LogSettings(level="warning"), stream)
    log = structlog.get_logger()
    log.info("worker.started")
    log.warning("broker.lost")

    assert [line["event"] for line in lines(stream)] == ["broker.lost"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_terminal_gets_colours_unless_no_color_or_the_form_is_configured(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO
) -> None:
    terminal, plain, configured = Terminal(), Terminal(), Terminal()
    monkeypatch.delenv("NO_COLOR", raising=False)
    configure(LogSettings(), terminal)
    structlog.get_logger().info("worker.started")
    monkeypatch.setenv("NO_COLOR", "1")
    configure(LogSettings(), plain)
    structlog.get_logger().info("worker.started")
    configure(LogSettings(format="json"), configured)
    structlog.get_logger().info("worker.started")

    assert "\x1b[" in terminal.getvalue()
    assert "worker.started" in plain.getvalue()
    assert "\x1b" not in plain.getvalue()
    assert lines(configured)[0]["event"] == "worker.started"


def test_bound_context_is_on_every_line(stream: io.StringIO) -> None:
    configure(LogSettings(), stream)
    with structlog.contextvars.bound_contextvars(command_id="c1"):
        structlog.get_logger().info("command.settled")

    assert lines(stream)[0]["command_id"] == "c1"


@pytest.mark.parametrize(
    "fields",
    [
        {"number": NUMBER},
        {"reason": f"no route to {NUMBER}"},
        {"numbers": [NUMBER]},
        {"numbers": {NUMBER}},
        {"data": {"event": NUMBER, "host": NUMBER}},
        {"data": {"deep": [{"number": "(613) 999-8877"}]}},
        {"data": {NUMBER: {"x": ("+1 613 999 8877",)}}},
        {"error": ValueError(f"bad number {NUMBER}")},
        {"url": "https://cpaas.example/outbound/%2B16139998877/requests"},
        {"command_id": "order-6139998877"},
        {"message_id": "order-6139998877"},
    ],
)
def test_phone_number_is_masked_at_any_position(fields: dict[str, Any], stream: io.StringIO) -> None:
    configure(LogSettings(), stream)
    structlog.get_logger().info("submission.tried", **fields)

    keys_aside = json.dumps(list(lines(stream)[0].values()))
    assert "9998877" not in keys_aside.replace(" ", "").replace("-", "")
    assert "***8877" in keys_aside


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "canary"},
        {"client_secret": "canary"},
        {"access_token": "canary"},
        {"Authorization": "canary"},
        {"x_authorization": b"canary"},
        {"message": "canary"},
        {"text": "canary"},
        {"body": {"canary": 1}},
        {"data": {"message": "canary", "token": ["canary"]}},
        {"url": "amqp://bridge:canary@rabbit/sms"},
        {"url": "amqp://bridge:ca:/nary@canary@rabbit"},
        {"reason": "refused by https://collector/v1?key=canary: try again"},
        {"reason": "refused: Bearer canary.canary-canary"},
    ],
)
def test_secrets_and_texts_are_never_written(fields: dict[str, Any], stream: io.StringIO) -> None:
    configure(LogSettings(), stream)
    structlog.get_logger().info("submission.tried", **fields)

    assert "canary" not in stream.getvalue()


def test_counts_and_flags_are_written_under_any_key(stream: io.StringIO) -> None:
    configure(LogSettings(), stream)
    structlog.get_logger().info("token.refreshed", token_lifetime=28800, token=None, secret=False)

    assert {key: lines(stream)[0][key] for key in ("token_lifetime", "token", "secret")} == {
        "token_lifetime": 28800,
        "token": None,
        "secret": False,
    }


@pytest.mark.parametrize("command_id", ["20261130001234", "order-4711000123", "2026-11-30 4711000123"])
def test_id_whose_command_is_known_is_written_whole(command_id: str, stream: io.StringIO) -> None:
    configure(LogSettings(), stream)
    structlog.get_logger().info("command.settled", command_id=show_id(command_id, lambda: [NUMBER]))

    assert lines(stream)[0]["command_id"] == command_id


@pytest.mark.parametrize(
    "reason",
    [
        "send_at is not an RFC 3339 time with an offset, such as 2026-01-31T09:30:00Z",
        "timeout at 2026-11-30 00:12:34.567890+00",
        "no route to 192.168.100.200:5672",
        "refused 0f5c1d9e-1418-5550-9173-000000000000",
    ],
)
def test_dates_addresses_of_machines_and_uuids_in_a_text_stay(reason: str, stream: io.StringIO) -> None:
    configure(LogSettings(), stream)
    structlog.get_logger().info("command.invalid", reasons=[reason])

    assert lines(stream)[0]["reasons"] == [reason]


@pytest.mark.usefixtures("stream")
def test_lines_for_the_journal_have_their_priority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for form in ("json", "console"):
        with (tmp_path / form).open("w+") as journal:
            where = os.fstat(journal.fileno())
            monkeypatch.setenv("JOURNAL_STREAM", f"{where.st_dev}:{where.st_ino}")
            configure(LogSettings(format=form, level="debug"), journal)
            log = structlog.get_logger()
            log.debug("command.superseded")
            log.info("submission.ended")
            log.warning("broker.lost")
            logging.getLogger("kombu").error("a library")  # noqa: TID251 - it does
            try:
                raise_(ValueError("one\ntwo"))
            except ValueError:
                log.critical("connection.crashed", exc_info=True)
            journal.seek(0)
            written = journal.read().splitlines()

        assert [line[:3] for line in written][:5] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
        assert {line[:3] for line in written[5:]} <= {"<2>"}


@pytest.mark.usefixtures("stream")
def test_lines_outside_the_journal_have_no_priority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")
    with (tmp_path / "log").open("w+") as elsewhere:
        configure(LogSettings(format="json"), elsewhere)
        structlog.get_logger().warning("broker.lost")
        elsewhere.seek(0)

        assert json.loads(elsewhere.read())["event"] == "broker.lost"


@pytest.mark.parametrize("identifier", ["12345678-1234-5678-1234-567812345678", "c1", "sms.outbound.sent"])
def test_id_that_is_not_a_number_is_searchable(identifier: str, stream: io.StringIO) -> None:
    configure(LogSettings(), stream)
    structlog.get_logger().info("command.settled", command_id=identifier)

    assert lines(stream)[0]["command_id"] == identifier


def raise_(error: Exception) -> None:
    raise error


def test_traceback_is_written_with_its_numbers_masked(stream: io.StringIO) -> None:
    configure(LogSettings(), stream)
    error = ConnectionError(f"/remoteAddresses/{NUMBER} at amqp://bridge:canary@rabbit")
    try:
        raise_(error)
    except ConnectionError:
        structlog.get_logger().exception("history.failed")

    [line] = lines(stream)
    assert "Traceback" in line["exception"]
    assert "\n  File " in line["exception"]
    assert "***8877" in line["exception"]
    assert "9998877" not in stream.getvalue()
    assert "canary" not in stream.getvalue()


def test_warnings_and_errors_of_libraries_have_the_same_format(stream: io.StringIO) -> None:
    configure(LogSettings(level="debug"), stream)
    library = logging.Logger.manager.getLogger("kombu.connection")
    library.info("connected")
    library.warning("lost %s", "amqp://bridge:canary@rabbit")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"about {NUMBER}", stacklevel=1)

    lost, warned = lines(stream)
    assert (lost["event"], lost["logger"], lost["level"]) == ("library.logged", "kombu.connection", "warning")
    assert lost["detail"] == "lost amqp://bridge:***@rabbit"
    assert (warned["logger"], "9998877" in warned["detail"]) == ("py.warnings", False)


def test_thread_that_crashes_leaves_a_line(stream: io.StringIO) -> None:
    configure(LogSettings(), stream)

    def crash() -> None:
        raise RuntimeError(NUMBER)

    thread = threading.Thread(target=crash, name="publisher")
    thread.start()
    thread.join()

    [line] = lines(stream)
    assert (line["event"], line["thread"], line["level"]) == ("thread.crashed", "publisher", "critical")
    assert "9998877" not in stream.getvalue()


def test_process_that_crashes_leaves_a_line(stream: io.StringIO) -> None:
    configure(LogSettings(), stream)
    error = RuntimeError(f"lost {NUMBER}")
    sys.excepthook(RuntimeError, error, None)

    [line] = lines(stream)
    assert (line["event"], line["level"]) == ("process.crashed", "critical")
    assert "***8877" in line["exception"]


def test_foreign_text_adds_no_line_and_no_control_sequence(stream: io.StringIO) -> None:
    configure(LogSettings(format="console"), stream)
    structlog.get_logger().info("notification.refused", reason="x\nforged\x1b[2J", message_id="y\nz\x1b[2J")

    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    ("event_id", "written"),
    [
        (b"\xff", r"b'\xff'"),
        ("of +16137778877\nforged", "of ***8877 forged"),
        ("0c2a6c1c-7d3e-5f4b-9d3c-1234567890ab", "0c2a6c1c-7d3e-5f4b-9d3c-1234567890ab"),
    ],
)
def test_event_id_from_a_header_is_written_like_any_other_text(
    event_id: object, written: str, stream: io.StringIO
) -> None:
    configure(LogSettings(), stream)
    structlog.get_logger().warning("dead_letter.returned", event_id=event_id)

    assert lines(stream)[0]["event_id"] == written


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(event=st.dictionaries(st.text(), anything))
def test_any_value_can_be_logged(event: dict[str, Any]) -> None:
    json.dumps(redact(None, "", event))
