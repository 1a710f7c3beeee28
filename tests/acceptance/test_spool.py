"""While the broker can't confirm, notifications are kept in the spool, and become events when it can."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.chaos_proxy import ChaosProxy
from tests.harness.notification_load import NotificationLoad, assert_one_event_each, collect, metric, spooled
from tests.harness.waiting import wait_until
from tests.harness.webhook import inbound, inbound_id

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import StartIngest
    from tests.conftest import StartBridge
    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient


pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

SECRET = "Bearer hunter2-tangerine"
#: Nobody listens there.
NO_BROKER = "amqp://guest:hunter2@127.0.0.1:1/"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def ingest_settings(directory: Path) -> dict[str, str]:
    """Return the settings of an ingest with a spool."""
    return {"BRIDGE_INGEST__AUTHORIZATION": SECRET, "BRIDGE_INGEST__SPOOL": str(directory)}


def test_a_broker_that_is_killed_costs_no_notification_and_hardly_any_time(
    start_ingest: StartIngest, amqp: BrokerClient, rabbitmq: Broker
) -> None:
    process, webhook = start_ingest()
    with NotificationLoad(webhook) as flood:
        flood.wait(50)
        rabbitmq.settle()
        os.kill(rabbitmq.pid, signal.SIGKILL)
        lost_at = time.monotonic()
        flood.wait(100)
        rabbitmq.kill(settle=False)
        ready_while_gone = process.admin("/readyz")
        kept = spooled(process)
        rabbitmq.start()
        wait_until(lambda: spooled(process) == 0, 30, what="an empty spool")
        flood.wait(20)
    messages = collect(amqp, flood.accepted())
    took = sorted(flood.after(lost_at))

    assert {status for _, status, *_ in flood.answers} == {204}
    assert kept > 0
    assert took[len(took) * 9 // 10] < 0.25
    assert took[-1] < 3
    assert (ready_while_gone[0], _reason(ready_while_gone[1], "publishing")["ok"]) == (200, False)
    assert_one_event_each(messages, flood.accepted())
    assert metric(process, "spool_drained_total") == metric(process, "spool_kept_total") >= kept
    assert process.stop() == 0


def _reason(body: str, name: str) -> Any:
    return json.loads(body)["reasons"][name]


def test_a_broker_that_stands_still_holds_up_only_the_first_requests(
    start_ingest: StartIngest, amqp: BrokerClient, rabbitmq: Broker
) -> None:
    process, webhook = start_ingest()
    with rabbitmq.frozen():
        began = time.monotonic()
        with NotificationLoad(webhook) as flood:
            wait_until(lambda: time.monotonic() > began + 2, 5)
            flood.wait(100)
        first = max(took for *_, took in flood.answers)
        later = sorted(took for *_, posted, took in flood.answers if posted > began + 2)
    messages = collect(amqp, flood.accepted())
    wait_until(lambda: spooled(process) == 0, what="an empty spool")

    assert {status for _, status, *_ in flood.answers} == {204}
    assert "spool.filling" in process.logs
    assert first < 3
    assert later[len(later) // 2] < 0.25
    assert_one_event_each(messages, flood.accepted())


def test_while_the_broker_has_an_alarm_notifications_are_kept(
    start_ingest: StartIngest, amqp: BrokerClient, rabbitmq: Broker
) -> None:
    process, webhook = start_ingest()
    with rabbitmq.memory_alarm():
        answers = [webhook.post(inbound(f"m-{number}")).status for number in range(5)]
        ready = process.admin("/readyz")[0]
    messages = collect(amqp, [f"m-{number}" for number in range(5)])

    assert answers == [204] * 5
    assert ready == 200
    assert_one_event_each(messages, [f"m-{number}" for number in range(5)])


def test_without_broker_and_ledger_it_starts_and_is_ready_and_what_it_kept_outlives_it(
    start_ingest: StartIngest, amqp: BrokerClient
) -> None:
    ids = [f"m-{number}" for number in range(20)]
    nothing = {"BRIDGE_BROKER__URL": NO_BROKER, "BRIDGE_LEDGER__URL": "sqlite:////nowhere/ledger.sqlite3"}
    process, webhook = start_ingest(**nothing)
    answers = [webhook.post(inbound(message_id)).status for message_id in ids]
    again = webhook.post(inbound("m-7")).status
    kept = spooled(process)
    detail = _reason(process.admin("/readyz")[1], "spool")["detail"]
    process.kill()
    other, _ = start_ingest()
    messages = collect(amqp, ids)
    wait_until(lambda: spooled(other) == 0, what="an empty spool")

    assert (answers, again) == ([204] * 20, 204)
    assert kept == 20
    assert detail.startswith("20 events wait in the spool")
    assert [message.json["data"]["message_id"] for message in messages] == ids
    assert_one_event_each(messages, ids)
    assert other.stop() == 0


@pytest.mark.parametrize(
    "place", ["notification-confirmed", "notification-spooled", "spool-confirmed"], ids=str
)
def test_a_crash_at_any_step_costs_no_notification(
    place: str, start_ingest: StartIngest, amqp: BrokerClient, vhost_url: str
) -> None:
    """The client gets no answer, so the provider comes again; what was answered is an event anyway."""
    accepted = []
    if place == "spool-confirmed":
        process, webhook = start_ingest(BRIDGE_BROKER__URL=NO_BROKER)
        accepted = [f"m-{number}" for number in range(5)]
        assert {webhook.post(inbound(message_id)).status for message_id in accepted} == {204}
        assert process.stop() == 0
    url = NO_BROKER if place == "notification-spooled" else vhost_url
    process, webhook = start_ingest(
        ready=False, BRIDGE_BROKER__URL=url, SMS_BRIDGE_FAILPOINT=f"{place}:kill9"
    )
    if place != "spool-confirmed":
        process.wait_ready()
        if place == "notification-confirmed":
            wait_until(lambda: _reason(process.admin("/readyz")[1], "publishing")["ok"], what="a connection")
        with pytest.raises(OSError, match=r"reset|closed|refused|without response"):
            webhook.post(inbound("m-x"))
    process.wait()
    other, webhook = start_ingest()
    if place != "spool-confirmed":
        assert webhook.post(inbound("m-x")).status == 204
        accepted.append("m-x")
    messages = collect(amqp, accepted)
    wait_until(lambda: spooled(other) == 0, what="an empty spool")
    messages += collect(amqp, [])

    assert process.returncode == -signal.SIGKILL
    expected = {inbound_id(message_id) for message_id in accepted}
    assert {message.properties["message_id"] for message in messages} == expected
    if place == "spool-confirmed":
        assert len(messages) > len(accepted)
        assert_one_event_each(messages, accepted)


def test_a_spool_that_is_full_says_so_and_asks_to_come_again(
    start_ingest: StartIngest, amqp: BrokerClient
) -> None:
    process, webhook = start_ingest(BRIDGE_BROKER__URL=NO_BROKER, BRIDGE_INGEST__SPOOL_MAX_BYTES="5000")
    answers = [webhook.post(inbound(f"m-{number}")) for number in range(12)]
    kept = [f"m-{number}" for number, answer in enumerate(answers) if answer.status == 204]
    process.wait_answer("/readyz", 503)
    _, body = process.admin("/readyz")
    process.kill()
    start_ingest()
    messages = collect(amqp, kept)

    assert 0 < len(kept) < 12
    assert {answer.headers.get("Retry-After") for answer in answers if answer.status == 503} == {"5"}
    assert "bytes are taken" in _reason(body, "spool")["detail"]
    assert "spool.refusing" in process.logs
    assert [message.json["data"]["message_id"] for message in messages] == kept


def test_a_disk_that_is_full_is_answered_503_and_when_there_is_room_again_204(
    start_ingest: StartIngest, amqp: BrokerClient, rabbitmq: Broker, vhost: str
) -> None:
    with ChaosProxy(("127.0.0.1", rabbitmq.port)) as way:
        way.refuse()
        process, webhook = start_ingest(BRIDGE_BROKER__URL=rabbitmq.url(vhost, way.port))
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
        answers = [webhook.post(inbound(f"m-{number}", "x" * 5000)) for number in range(60)]
        process.wait_answer("/readyz", 503)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        process.wait_ready()
        roomy = webhook.post(inbound("roomy"))
        way.pass_through()
        kept = [f"m-{number}" for number, answer in enumerate(answers) if answer.status == 204]
        messages = collect(amqp, [*kept, "roomy"])
        wait_until(lambda: spooled(process) == 0, what="an empty spool")

    refused = [answer for answer in answers if answer.status == 503]
    assert kept
    assert refused
    assert {answer.headers["Retry-After"] for answer in refused} == {"5"}
    assert roomy.status == 204
    assert_one_event_each(messages, [*kept, "roomy"])


def test_a_spool_that_is_removed_while_it_is_used_costs_no_notification(
    start_ingest: StartIngest, amqp: BrokerClient, directory: Path
) -> None:
    process, webhook = start_ingest(BRIDGE_BROKER__URL=NO_BROKER)
    answers = [webhook.post(inbound("m-1")).status]
    shutil.rmtree(directory)
    answers += [webhook.post(inbound(f"m-{number}")).status for number in (2, 3)]
    shutil.rmtree(directory)
    # Nobody posts any more: it is found out all the same.
    wait_until((directory / "events.sqlite3").exists, 20)
    wait_until(lambda: process.logs.count('"spool.moved"') == 2, 20)
    directory.rename(directory.with_name("elsewhere"))
    directory.touch()
    lost = webhook.post(inbound("m-4")).status
    process.wait_answer("/readyz", 503)
    directory.unlink()
    process.wait_ready()
    answers.append(webhook.post(inbound("m-5")).status)
    process.kill()
    kept = [f"m-{number}" for number in (1, 2, 3, 5)]
    start_ingest()
    messages = collect(amqp, kept)

    assert (answers, lost) == ([204] * 4, 503)
    assert "spool.refusing" in process.logs
    assert_one_event_each(messages, kept)


def test_damaged_event_is_counted_and_costs_no_other(
    start_ingest: StartIngest, amqp: BrokerClient, directory: Path
) -> None:
    ids = [f"m-{number}" for number in range(50)]
    process, webhook = start_ingest(BRIDGE_BROKER__URL=NO_BROKER)
    for message_id in ids:
        assert webhook.post(inbound(message_id, f"canary {message_id}.")).status == 204
    process.stop()
    file = directory / "events.sqlite3"
    raw = file.read_bytes()
    file.write_bytes(raw.replace(b"canary m-17.", b"canary m-71."))
    other, _ = start_ingest()
    messages = collect(amqp, set(ids) - {"m-17"})
    wait_until(lambda: spooled(other) == 0, what="an empty spool")

    assert_one_event_each(messages, set(ids) - {"m-17"})
    assert len(messages) == 49
    assert metric(other, "spool_damaged_total") == 1
    assert "spool.damaged" in other.logs


def test_damaged_spool_is_recovered_by_a_person_while_the_ingest_goes_on_with_a_new_one(
    start_ingest: StartIngest,
    bridge_process: StartBridge,
    amqp: BrokerClient,
    directory: Path,
    vhost_url: str,
) -> None:
    ids = [f"m-{number}" for number in range(50)]
    process, webhook = start_ingest(BRIDGE_BROKER__URL=NO_BROKER)
    assert {webhook.post(inbound(message_id, f"canary {message_id}.")).status for message_id in ids} == {204}
    process.stop()
    file = directory / "events.sqlite3"
    raw = bytearray(file.read_bytes())
    page = raw.index(b"canary m-30.") // 4096 * 4096
    raw[page : page + 4096] = bytes(4096)
    file.write_bytes(raw)
    other, webhook = start_ingest()
    wait_until(lambda: "spool.quarantined" in other.logs, what="a word of the damaged file")
    after = webhook.post(inbound("m-after")).status
    (aside,) = directory.glob("damaged-*.sqlite3")

    def recover(url: str = vhost_url) -> tuple[int, str, str]:
        command = bridge_process("spool", "recover", str(aside), env={"BRIDGE_BROKER__URL": url}, ready=False)
        return command.wait(), command.stdout, command.logs

    unreachable, first, second = recover(NO_BROKER)[0], recover(), recover()
    published, unreadable = (int(word) for word in first[1].partition(":")[0].split() if word.isdigit())
    messages = collect(amqp, ["m-after", "m-0", "m-49"])
    found = {message.json["data"]["message_id"] for message in messages} - {"m-after"}

    assert (after, unreachable, first[0], second[0]) == (204, 69, 1, 1)
    assert str(aside) in other.logs
    assert (published, unreadable) == (len(found), 50 - len(found))
    assert 30 < published < 50
    assert "m-30" not in found
    assert_one_event_each(messages, [*found, "m-after"])
    assert second[1].startswith("0 events published, 1 could not be read")
    assert spooled(other) == 0
    assert [path.name for path in directory.glob("damaged-*")] == [f"{aside.name}.partly-recovered"]


def test_a_second_ingest_on_one_spool_goes_without_and_says_why(start_ingest: StartIngest) -> None:
    start_ingest()
    other, webhook = start_ingest()
    wait_until(lambda: "another process has it" in other.logs)
    status, body = other.admin("/readyz")

    assert (status, _reason(body, "spool")["ok"]) == (200, False)
    assert webhook.post(inbound("m")).status == 204


def test_a_late_confirm_takes_an_event_out_of_the_spool_again(
    start_ingest: StartIngest, amqp: BrokerClient, rabbitmq: Broker, vhost: str
) -> None:
    with ChaosProxy(("127.0.0.1", rabbitmq.port)) as way:
        process, webhook = start_ingest(BRIDGE_BROKER__URL=rabbitmq.url(vhost, way.port))
        way.delay(2)
        answer = webhook.post(inbound("late"))
        kept = spooled(process)
        way.delay(0)
        wait_until(lambda: spooled(process) == 0, what="an empty spool")
    messages = collect(amqp, ["late"])

    assert (answer.status, kept) == (204, 1)
    assert len(messages) == 1
    assert amqp.depth("test.events") == 0
