"""Each process works with the rights on the broker that the runbook gives it, and says so where it lacks one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import amqp as py_amqp
import pytest
from amqp.exceptions import AccessRefused

from tests.acceptance.commands import run
from tests.harness.broker_client import BrokerClient
from tests.harness.waiting import wait_until
from tests.harness.webhook import Webhook, inbound, listening_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.acceptance.conftest import Provider, StartUnsearched
    from tests.conftest import StartBridge
    from tests.harness.broker import Broker

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

DOCUMENT = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
LINE = re.compile(r"^rabbitmqctl set_permissions -p sms (\S+) '(\S+)' '(\S+)' '(\S+)'$", re.MULTILINE)
NOTHING = "^$"


class Rights(NamedTuple):
    """What a user may configure, write and read, as regular expressions."""

    configure: str
    write: str
    read: str


RIGHTS = {user: Rights(*rights) for user, *rights in LINE.findall(DOCUMENT)}


class Users:
    """Gives users of one virtual host the runbook's rights."""

    def __init__(self, broker: Broker, vhost: str) -> None:
        self._broker = broker
        self._vhost = vhost

    def url(self, user: str, rights: Rights | None = None) -> str:
        """Make a user with its rights, or with others; return the URL that it connects with."""
        name = f"{user}-{self._vhost}"
        configure, write, read = rights or RIGHTS[user]
        self._broker.add_user(
            self._vhost, name, "hunter2-broker", configure=configure, write=write, read=read
        )
        return self._broker.url(self._vhost).replace("guest:guest", f"{name}:hunter2-broker")

    def env(self, user: str, rights: Rights | None = None) -> dict[str, str]:
        """Return the configuration that such a user has."""
        return {"BRIDGE_BROKER__URL": self.url(user, rights), "BRIDGE_BROKER__DECLARE": "false"}


@pytest.fixture
def users(rabbitmq: Broker, vhost: str) -> Users:
    """Return users of a virtual host with the topology in it, declared by who may."""
    users = Users(rabbitmq, vhost)
    declared = run("topology", "declare", env=users.env("bridge-topology"))

    assert declared.code == 0, declared.stderr

    return users


def command(name: str, **changes: object) -> dict[str, object]:
    return {"id": name, "destination_address": "+16131234567", "message": f"canary {name}", **changes}


def collect(billing: BrokerClient) -> None:
    """Declare and bind as a consumer of events does that owns its queue alone."""
    with billing.channel() as channel:
        channel.queue_declare("billing.events", durable=True, auto_delete=False)
        channel.queue_bind("billing.events", "sms.events", "#")


def test_everything_works_with_the_rights_of_the_runbook(
    users: Users, env: Mapping[str, str], bridge_process: StartBridge, provider: Provider, vhost_url: str
) -> None:
    common = {**env, "BRIDGE_RETRY__IN_PROCESS": "0", "BRIDGE_RETRY__BASE": "1"}
    worker = bridge_process("worker", env={**common, **users.env("bridge-worker")})
    ingest = bridge_process(
        "ingest", env={**common, "BRIDGE_INGEST__PORT": "0", **users.env("bridge-ingest")}
    )
    with (
        BrokerClient(vhost_url) as guest,
        BrokerClient(users.url("orders")) as orders,
        BrokerClient(users.url("billing")) as billing,
    ):
        # Nobody has bound a queue yet.
        assert Webhook(port=listening_port(ingest)).post(inbound("first")).status == 204
        wait_until(lambda: guest.depth("sms.unrouted") == 1, what="what nobody is bound for")

        collect(billing)

        assert Webhook(port=listening_port(ingest)).post(inbound("second")).status == 204

        with orders.channel() as channel:
            replies = channel.queue_declare("", exclusive=True).queue
            orders.publish(command("replied"), message_id="replied", reply_to=replies)
            wait_until(lambda: channel.basic_get(replies, no_ack=True), what="the reply")
        provider.faults({"name": "status", "status": 429, "retry_after": 3})
        orders.publish(command("delayed"), message_id="delayed")
        orders.publish(command("refused", sender_address="+14165550100"), message_id="refused")
        types = {event["type"] for event in billing.events(5, 30, "billing.events")}
        wait_until(lambda: guest.depth("sms.dead") == 1, what="the dead letter")

    listed = run("dead", "list", "--json", env={**common, **users.env("bridge-operator")})

    assert types == {
        "sms.inbound.received", "sms.outbound.sent", "sms.outbound.deferred", "sms.outbound.rejected"
    }  # fmt: skip
    assert sorted(provider.texts()) == ["canary delayed", "canary replied"]
    assert listed.code == 0, listed.stderr
    for process in (worker, ingest):
        assert "ACCESS_REFUSED" not in process.logs
        assert "not_compared" not in process.logs


def test_an_operator_sends_dead_letters_back_and_adopts_a_ledger(
    users: Users, env: Mapping[str, str], vhost_url: str, tmp_path: Path
) -> None:
    other = f"sqlite:///{tmp_path / 'other.sqlite3'}"
    operator = {**env, **users.env("bridge-operator"), "BRIDGE_LEDGER__URL": other}
    with BrokerClient(vhost_url) as guest:
        headers = {"x-bridge-outcome": "failed", "x-bridge-event-id": "e1", "x-bridge-command-id": "a"}
        guest.publish(command("a"), exchange="", routing_key="sms.dead", headers=headers)
        replayed = run("dead", "replay", "--all", "--yes", env=operator)
        migrated = run("ledger", "migrate", env=operator)
        adopted = run("ledger", "adopt", env=operator)

        assert (replayed.code, migrated.code, adopted.code) == (0, 0, 0), replayed.stderr + adopted.stderr
        assert (guest.depth("sms.dead"), guest.depth("sms.send")) == (0, 1)


def test_an_operator_sends_waits_for_the_outcome_and_follows_events(
    users: Users, env: Mapping[str, str], bridge_process: StartBridge, unsearched_process: StartUnsearched
) -> None:
    bridge_process("worker", env={**env, **users.env("bridge-worker")})
    operator = {**env, **users.env("bridge-operator")}
    following = unsearched_process("events", "tail", env=operator)

    def seen() -> bool:
        sent = run("send", "--to", "+16135550123", "--message", "canary", "--wait", env=operator)
        assert sent.code == 0, sent.stderr
        return "sms.outbound.sent" in following.stdout

    wait_until(seen, 20)

    assert (following.stop(), following.logs) == (0, "")


def test_a_worker_that_may_not_consume_says_so(
    users: Users, env: Mapping[str, str], bridge_process: StartBridge
) -> None:
    rights = RIGHTS["bridge-worker"]._replace(read=r"^sms\.ledger$")
    worker = bridge_process("worker", env={**env, **users.env("bridge-worker", rights)}, ready=False)
    wait_until(lambda: "ACCESS_REFUSED" in worker.logs, 30, what="the refusal")

    assert re.search(r"access to queue 'sms.send' .* refused for user 'bridge-worker", worker.logs)
    assert worker.admin("/readyz")[0] == 503


@pytest.mark.parametrize("missing", ["sms.events", "sms_celery_delayed_27", "amq.default"])
def test_a_worker_that_may_not_publish_says_where(
    missing: str, users: Users, env: Mapping[str, str], bridge_process: StartBridge, provider: Provider
) -> None:
    whole = RIGHTS["bridge-worker"]
    rights = whole._replace(write=whole.write.replace(re.escape(missing), "nothing"))
    worker = bridge_process(
        "worker", env={**env, "BRIDGE_RETRY__IN_PROCESS": "0", **users.env("bridge-worker", rights)}
    )
    provider.faults({"name": "status", "status": 429, "retry_after": 3})
    with BrokerClient(users.url("orders")) as orders:
        # The first is told of, put off and delayed; the second ends on the dead-letter queue.
        orders.publish(command("a"), message_id="a")
        orders.publish(b"no command")
    wait_until(lambda: "ACCESS_REFUSED" in worker.logs, 30, what="the refusal")

    assert rights != whole
    assert re.search(rf"access to exchange '{re.escape(missing)}'", worker.logs)


def test_a_worker_that_may_not_note_its_ledger_works_and_says_so(
    users: Users, env: Mapping[str, str], bridge_process: StartBridge
) -> None:
    rights = RIGHTS["bridge-worker"]._replace(configure=NOTHING)
    worker = bridge_process("worker", env={**env, **users.env("bridge-worker", rights)})

    assert "ledger.not_compared" in worker.logs


def test_an_ingest_that_may_not_publish_takes_nothing_and_says_why(
    users: Users, env: Mapping[str, str], bridge_process: StartBridge
) -> None:
    rights = Rights(NOTHING, NOTHING, NOTHING)
    own = {"BRIDGE_INGEST__PORT": "0", "BRIDGE_INGEST__CONFIRM_TIMEOUT": "1"}
    ingest = bridge_process("ingest", env={**env, **own, **users.env("bridge-ingest", rights)})

    assert Webhook(port=listening_port(ingest)).post(inbound("first")).status == 503
    assert "access to exchange 'sms.events'" in ingest.logs


@pytest.mark.parametrize(("user", "status"), [("bridge-ingest-submit", 202), ("bridge-ingest", 503)])
def test_who_takes_commands_over_http_needs_the_right_to_publish_them(
    user: str, status: int, users: Users, env: Mapping[str, str], bridge_process: StartBridge
) -> None:
    secret = "Bearer tangerine-4711"
    own = {"BRIDGE_INGEST__PORT": "0", "BRIDGE_SUBMIT__PORT": "0", "BRIDGE_SUBMIT__AUTHORIZATION": secret}
    ingest = bridge_process("ingest", env={**env, **own, **users.env(user)})
    wait_until(lambda: ingest.logs.count('"broker.connected"') == 2, 10, what="both connections")
    port = listening_port(ingest, "submit.listening")
    endpoint = Webhook(port=port, path="/v1/messages", authorization=secret)
    answers = [
        endpoint.post(command("a")).status,
        Webhook(port=listening_port(ingest)).post(inbound("m")).status,
    ]

    assert answers == [status, 204]
    assert ("access to exchange 'sms.commands'" in ingest.logs) == (status == 503)


@pytest.mark.parametrize(
    ("part", "thing"),
    # With a dead-letter exchange a queue wants rights on both.
    [
        ("configure", "exchange 'sms.topology."),
        ("write", "exchange 'amq.default'"),
        ("read", "queue 'sms.given_up'"),
    ],
)
def test_who_declares_and_may_not_is_told_what(part: str, thing: str, rabbitmq: Broker, vhost: str) -> None:
    rights = RIGHTS["bridge-topology"]._replace(**{part: NOTHING})
    declared = run("topology", "declare", env=Users(rabbitmq, vhost).env("bridge-topology", rights))

    assert declared.code == 69
    assert f"access to {thing}" in declared.stderr


@pytest.mark.parametrize("queue", ["sms.send", "sms.dead"])
def test_a_service_may_neither_read_commands_nor_publish_events(queue: str, users: Users) -> None:
    for user in ("orders", "billing"):
        with BrokerClient(users.url(user)) as peer:
            with pytest.raises(AccessRefused):
                peer.get(queue)
            with pytest.raises((AccessRefused, py_amqp.exceptions.RecoverableConnectionError)):
                peer.publish({}, exchange="sms.events", routing_key="sms.outbound.sent")
