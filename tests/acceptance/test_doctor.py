"""`bridge doctor`: a good installation is well, and each thing that is wrong is named, with what to do about it."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.store import open_ledger
from bridge.domain.circuit_breaker import DOWN_AFTER
from tests.acceptance.commands import run
from tests.acceptance.test_rights import Users
from tests.harness.broker_client import COLLECTOR
from tests.harness.sensitive_values import SECRETS, leaks
from tests.harness.waiting import free_port, wait_until
from tests.harness.webhook import listening_port

if TYPE_CHECKING:
    from tests.acceptance.commands import Done
    from tests.acceptance.conftest import Provider
    from tests.conftest import StartBridge
    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

#: Checks that need what another one checks.
LEAN_ON = {"broker": {"topology"}, "account": {"subscriptions"}}
SECRET = f"Bearer {SECRETS['webhook']}"


@pytest.fixture
def well(env: dict[str, str], bridge_process: StartBridge, tmp_path: Path) -> dict[str, str]:
    """Return the configuration of a bridge whose every part is there and right."""
    port = free_port()
    whole = {
        **env,
        "BRIDGE_CPAAS__CLIENT_SECRET": SECRETS["client"],
        "BRIDGE_INGEST__PORT": str(port),
        "BRIDGE_INGEST__SPOOL": str(tmp_path / "spool"),
        "BRIDGE_INGEST__AUTHORIZATION": SECRET,
        "BRIDGE_SUBSCRIPTIONS__WEBHOOK_URL": f"http://127.0.0.1:{port}/inbound-sms/webhook",
    }
    worker = bridge_process("worker", env=whole)
    listening_port(bridge_process("ingest", env=whole))
    whole["BRIDGE_ADMIN__PORT"] = str(worker.admin_port)
    assert run("subscriptions", "sync", env=whole).code == 0
    return whole


def levels(done: Done) -> dict[str, set[str]]:
    """Return what was found of each check."""
    found: dict[str, set[str]] = {}
    for row in done.json:
        found.setdefault(row["check"], set()).add(row["level"])
    return found


def published(done: Done, check: str) -> str:
    """Return all that is said of a check."""
    return " ".join(
        f"{row['level']} {row['seen']} {row['advice']}" for row in done.json if row["check"] == check
    )


def doctor(env: dict[str, str], **changes: str) -> Done:
    alone = {"BRIDGE_ADMIN__PORT": str(free_port())}
    own = {f"BRIDGE_{name}": value for name, value in changes.items()}
    return run("doctor", "--json", env={**alone, **env, **own})


def test_where_all_is_well_it_says_so_and_changes_nothing(
    well: dict[str, str], provider: Provider, amqp: BrokerClient
) -> None:
    amqp.collect()
    done = doctor(well)
    plain = run("doctor", env=well)

    assert levels(done) == {
        name: {"ok"}
        for name in (
            "files", "broker", "process", "topology", "ledger", "spool", "disk", "account", "subscriptions", "webhook",
        )
    }  # fmt: skip
    assert (done.code, plain.code) == (0, 0)
    assert plain.stdout.splitlines()[-1] == f"{len(done.json)} ok, 0 warnings, 0 failed"
    assert "it is the command queue's own" in plain.stdout
    assert (provider.journal(), amqp.get("sms.dead"), amqp.get(COLLECTOR)) == ([], None, None)
    assert leaks(done.stdout + done.stderr + plain.stdout + plain.stderr) == []


def test_quarantined_spool_file_fails_with_the_command_that_recovers_it(well: dict[str, str]) -> None:
    file = Path(well["BRIDGE_INGEST__SPOOL"], "damaged-2026-01-31T09-30-00Z.sqlite3")
    file.touch()
    done = doctor(well)

    assert (done.code, levels(done)["spool"]) == (1, {"fail"})
    assert f"bridge spool recover {file}" in published(done, "spool")


@pytest.mark.parametrize(
    ("check", "changes", "seen"),
    [
        ("broker", {"BROKER__URL": f"amqp://x:{SECRETS['broker']}@127.0.0.1:1/"}, "can't be reached"),
        ("ledger", {"LEDGER__URL": "sqlite:////nowhere/ledger.db"}, "there is no ledger yet"),
        ("ledger", {"LEDGER__URL": f"postgresql+psycopg://x:{SECRETS['ledger']}@127.0.0.1:1/x"}, "fail"),
        ("account", {"CPAAS__CLIENT_SECRET": "wrong"}, "fail"),
        ("account", {"CPAAS__BASE_URL": "http://127.0.0.1:1"}, "fail"),
        (
            "account",
            {"CPAAS__PROXY": f"http://x:{SECRETS['account']}@127.0.0.1:1"},
            "the proxy 127.0.0.1:1 can't be used",
        ),
        ("webhook", {"SUBSCRIPTIONS__WEBHOOK_URL": "http://127.0.0.1:1/hook"}, "refused"),
        ("files", {"INGEST__TLS_CERTIFICATE": "/nowhere/cert.pem"}, "see ingest.tls_certificate"),
        ("files", {"SUBMIT__TLS_CERTIFICATE": "/nowhere/cert.pem"}, "see submit.tls_certificate"),
        ("files", {"SUBMIT__PORT": "0"}, "see submit.authorization"),
        ("files", {"CPAAS__CA_FILE": "/nowhere/ca.pem"}, "can't be used as the provider's CA"),
    ],
)
def test_what_is_wrong_fails_alone_and_says_what_to_do(
    well: dict[str, str], check: str, changes: dict[str, str], seen: str
) -> None:
    done = doctor(well, **changes)

    assert done.code == 1
    assert "fail" in levels(done)[check]
    assert seen in published(done, check)
    assert all(row["advice"] for row in done.json if row["level"] in {"warn", "fail"})
    failing = {name for name, found in levels(done).items() if "fail" in found}
    assert failing <= {check} | LEAN_ON.get(check, set())
    assert leaks(done.stdout + done.stderr) == []


def test_another_ledger_a_wrong_path_and_an_open_door_are_noticed(
    well: dict[str, str], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/another.db"
    open_ledger(url).close()
    wrong_path = well["BRIDGE_SUBSCRIPTIONS__WEBHOOK_URL"].replace("webhook", "elsewhere")
    done = doctor(well, LEDGER__URL=url, SUBSCRIPTIONS__WEBHOOK_URL=wrong_path)

    assert "the command queue has another ledger" in published(done, "ledger")
    assert "it answers 404" in published(done, "webhook")
    # The channel that is there posts elsewhere.
    assert "warn" in levels(done)["subscriptions"]
    # Looking at it has not made it the queue's own.
    assert "the command queue has another ledger" in published(doctor(well, LEDGER__URL=url), "ledger")


def test_dead_letters_a_queue_without_workers_and_what_is_missing_are_warned_of(
    env: dict[str, str], amqp: BrokerClient, bridge_process: StartBridge
) -> None:
    empty = doctor(env)
    assert run("topology", "declare", env=env).code == 0
    with closing(open_ledger(env["BRIDGE_LEDGER__URL"])):
        pass
    worker = bridge_process("worker", env=env)
    amqp.publish(b"no command")
    amqp.dead(1)
    amqp.publish(b"x", exchange="", routing_key="sms.dead")
    worker.stop()
    after = doctor(env)

    assert "is missing" in published(empty, "topology")
    assert empty.code == 1
    assert "there is no ledger yet" in published(empty, "ledger")
    assert after.code == 0
    assert "no worker consumes; 0 commands wait" in published(after, "broker")
    assert "1 dead letters wait" in published(after, "broker")


def test_rights_that_are_missing_are_named(env: dict[str, str], rabbitmq: Broker) -> None:
    assert run("topology", "declare", env=env).code == 0
    vhost = env["BRIDGE_BROKER__URL"].rpartition("/")[2]
    rabbitmq.add_user(
        vhost, f"reader-{vhost}", "pw", configure="^$", write="^sms[.]events$", read="^sms[.]dead$"
    )
    place = env["BRIDGE_BROKER__URL"].partition("@")[2]
    done = doctor(env, BROKER__URL=f"amqp://reader-{vhost}:pw@{place}", SUBMIT__PORT=str(free_port()))

    assert {row["seen"] for row in done.json if "may not" in row["seen"]} == {
        "this user may not read sms.given_up",
        "this user may not read sms.send",
        "this user may not write to amq.default",
        "this user may not write to sms.commands",
        "this user may not write to sms_celery_delayed_27",
    }


@pytest.mark.parametrize(
    ("process", "user", "submits"),
    [
        ("worker", "bridge-worker", False),
        ("ingest", "bridge-ingest", False),
        ("ingest", "bridge-ingest-submit", True),
    ],
)
def test_the_rights_of_the_runbook_are_enough(
    well: dict[str, str], rabbitmq: Broker, amqp: BrokerClient, process: str, user: str, *, submits: bool
) -> None:
    vhost = well["BRIDGE_BROKER__URL"].rpartition("/")[2]
    env = {**well, **Users(rabbitmq, vhost).env(user)}
    if submits:
        env |= {"BRIDGE_SUBMIT__PORT": str(free_port()), "BRIDGE_SUBMIT__AUTHORIZATION": f"{SECRET} too"}
    done = run("doctor", "--json", "--for", process, env=env)

    assert done.code == 0
    assert {level for found in levels(done).values() for level in found} <= {"ok", "skipped"}
    assert (amqp.get("sms.dead"), amqp.get("sms.send")) == (None, None)


def test_what_waits_is_not_taken_to_see_whether_it_may_be(env: dict[str, str], amqp: BrokerClient) -> None:
    assert run("topology", "declare", env=env).code == 0
    amqp.publish(b"waits")
    done = doctor(env)
    waiting = amqp.get("sms.send")

    assert "may not" not in published(done, "broker")
    assert waiting is not None
    assert not waiting.redelivered


def test_a_broker_with_an_alarm_takes_no_messages(env: dict[str, str], rabbitmq: Broker) -> None:
    assert run("topology", "declare", env=env).code == 0
    with rabbitmq.memory_alarm():
        done = doctor(env)

    assert done.code == 1
    assert "it accepts no messages: an alarm" in published(done, "broker")


def test_numbers_that_the_account_does_not_have_are_warned_of(well: dict[str, str]) -> None:
    ours = doctor(well, CPAAS__DEFAULT_SENDER="+16139998878", SUBSCRIPTIONS__NUMBERS="+16139998877")
    foreign = doctor(
        well, CPAAS__DEFAULT_SENDER="+16130000001", SUBSCRIPTIONS__NUMBERS="+16139998877,+16130000002"
    )

    assert "the account has the numbers in its configuration, 2" in published(ours, "account")
    assert "warn cpaas.default_sender: not a number of the account" in published(foreign, "account")
    assert "warn subscriptions.numbers, ***0002: not a number of the account" in published(foreign, "account")
    assert "***8877" not in published(foreign, "account")


def test_a_worker_that_has_paused_is_named_with_its_reason(
    env: dict[str, str], amqp: BrokerClient, bridge_process: StartBridge
) -> None:
    away = {**env, "BRIDGE_CPAAS__BASE_URL": "http://127.0.0.1:1", "BRIDGE_RETRY__IN_PROCESS": "0"}
    worker = bridge_process("worker", env=away)
    for number in range(DOWN_AFTER):
        amqp.publish({"id": f"order-{number}", "destination_address": "+16131234567", "message": "hello"})
    wait_until(lambda: amqp.consumers("sms.send") == 0, 60, what="a pause")
    done = doctor(env, ADMIN__PORT=str(worker.admin_port))

    assert "the worker on this machine has paused: the provider does not answer" in published(done, "broker")
    assert "connection refused" in published(done, "broker")
    assert "start `bridge worker`" not in published(done, "broker")
    assert "warn sending: the provider does not answer" in published(done, "process")


def test_a_frozen_process_is_noticed(env: dict[str, str], bridge_process: StartBridge) -> None:
    worker = bridge_process("worker", env=env)
    worker.send_signal(signal.SIGSTOP)
    done = doctor(env, ADMIN__PORT=str(worker.admin_port))
    worker.send_signal(signal.SIGCONT)

    assert done.code == 1
    assert f"fail the process on 127.0.0.1:{worker.admin_port} does not answer: it is frozen" in published(
        done, "process"
    )


def test_an_ingest_that_lets_only_some_networks_in_is_well(
    env: dict[str, str], bridge_process: StartBridge
) -> None:
    port = free_port()
    guarded = {
        **env,
        "BRIDGE_INGEST__PORT": str(port),
        "BRIDGE_INGEST__AUTHORIZATION": SECRET,
        "BRIDGE_INGEST__ALLOW": "10.0.0.0/8",
        "BRIDGE_SUBSCRIPTIONS__WEBHOOK_URL": f"http://127.0.0.1:{port}/inbound-sms/webhook",
    }
    listening_port(bridge_process("ingest", env=guarded))
    done = doctor(guarded)

    assert levels(done)["webhook"] == {"ok"}
    assert "not in ingest.allow" in published(done, "webhook")


def test_a_provider_that_is_busy_is_named_with_its_answer(env: dict[str, str], provider: Provider) -> None:
    busy = {"name": "status", "status": 503}
    provider.post("settings", {"failing": {"history": busy, "subscriptions": busy}})
    done = doctor(env)

    assert "the provider can't be used now: HTTP 503 Service Unavailable" in published(done, "account")
