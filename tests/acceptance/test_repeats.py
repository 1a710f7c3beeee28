"""A notification that comes again is answered 204 and is no second event: at once, later, and elsewhere."""

from __future__ import annotations

import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.store import open_seen
from tests.harness.waiting import wait_until
from tests.harness.webhook import Webhook, inbound, inbound_id

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import StartIngest
    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient
    from tests.harness.postgres import Postgres
    from tests.harness.processes import BridgeProcess


pytestmark = [pytest.mark.broker, pytest.mark.acceptance]


def at_once(webhook: Webhook, message_id: str, times: int) -> list[int]:
    with ThreadPoolExecutor(times) as pool:
        posts = [pool.submit(webhook.post, inbound(message_id)) for _ in range(times)]
        return [post.result().status for post in posts]


def metric(process: BridgeProcess, name: str) -> float:
    found = re.search(rf"^sms_bridge_{name} (\S+)$", process.admin("/metrics")[1], re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_a_notification_is_one_event_however_often_it_comes_and_to_whichever_ingest(
    start_ingest: StartIngest, ledger_url: str, amqp: BrokerClient
) -> None:
    first, webhook = start_ingest(BRIDGE_LEDGER__URL=ledger_url)
    statuses = at_once(webhook, "m1", 5)
    statuses += [webhook.post(inbound("m1")).status]
    # Counted and noted a moment after its answer (docs/internals/decisions.md); then without a goodbye.
    wait_until(lambda: metric(first, "notifications_repeated_total") == 5)
    with closing(open_seen(ledger_url)) as seen:
        wait_until(lambda: seen.known([inbound_id("m1")]), what="a note in the ledger")
    first.stop(signal.SIGKILL)
    _, again = start_ingest(BRIDGE_LEDGER__URL=ledger_url)
    statuses += at_once(again, "m1", 5)
    _, other = start_ingest(BRIDGE_LEDGER__URL=ledger_url)
    statuses += at_once(other, "m1", 5)
    statuses += [other.post(inbound("m2")).status]
    events = amqp.events(2)

    assert statuses == [204] * 17
    assert [event["id"] for event in events] == [inbound_id("m1"), inbound_id("m2")]
    assert amqp.depth("test.events") == 0
    assert first.logs.count('"event": "notification.accepted"') == 1
    assert first.logs.count('"event": "notification.repeated"') == 5


def test_messages_that_share_an_id_are_an_event_each_whichever_ingest_they_come_to(
    start_ingest: StartIngest, ledger_url: str, amqp: BrokerClient
) -> None:
    first, webhook = start_ingest(BRIDGE_LEDGER__URL=ledger_url)
    bodies = [inbound("m1"), inbound("m1", "another text"), inbound("m1", destinationAddress="+16137001235")]
    ids = [inbound_id("m1"), inbound_id("m1", "another text"), inbound_id("m1", to="+16137001235")]
    statuses = [webhook.post(body).status for body in bodies * 2]
    with closing(open_seen(ledger_url)) as seen:
        wait_until(lambda: seen.known(ids) == set(ids), what="notes in the ledger")
    first.stop(signal.SIGKILL)
    (_, again), (_, other) = (
        start_ingest(BRIDGE_LEDGER__URL=ledger_url),
        start_ingest(BRIDGE_LEDGER__URL=ledger_url),
    )
    statuses += [each.post(body).status for each in (again, other) for body in bodies]
    events = amqp.events(3)

    assert statuses == [204] * 12
    assert [event["id"] for event in events] == ids
    assert amqp.depth("test.events") == 0


def test_without_a_ledger_the_ingest_goes_on_and_knows_what_it_has_seen_itself(
    start_ingest: StartIngest, amqp: BrokerClient, tmp_path: Path
) -> None:
    nowhere = f"sqlite:///{tmp_path}/nowhere/ledger.sqlite3"
    (one, first), (_, second) = (
        start_ingest(BRIDGE_LEDGER__URL=nowhere),
        start_ingest(BRIDGE_LEDGER__URL=nowhere),
    )
    statuses = [*at_once(first, "m1", 3), *at_once(first, "m1", 3), *at_once(second, "m1", 3)]
    ids = [event["id"] for event in amqp.events(2)]

    assert statuses == [204] * 9
    assert ids == [inbound_id("m1")] * 2
    assert amqp.depth("test.events") == 0
    assert metric(one, "notifications_not_deduplicated_total") == 1
    assert one.logs.count('"event": "notifications.not_deduplicated"') == 1


def test_a_ledger_that_goes_and_comes_back_is_told_what_it_missed(
    start_ingest: StartIngest, postgresql: Postgres, postgresql_url: str, amqp: BrokerClient
) -> None:
    one, first = start_ingest(BRIDGE_LEDGER__URL=postgresql_url)
    before = first.post(inbound("m1")).status
    postgresql.kill()
    meanwhile = [first.post(inbound(name)).status for name in ("m2", "m2", "m3")]
    unready = one.admin("/readyz")[0]
    postgresql.start()
    database = postgresql_url.rpartition("/")[2]
    wait_until(
        lambda: postgresql.execute("SELECT count(*) FROM notifications", database=database) == [(6,)],
        what="what the ledger missed",
    )
    _, second = start_ingest(BRIDGE_LEDGER__URL=postgresql_url)
    after = [second.post(inbound(name)).status for name in ("m1", "m2", "m3")]
    ids = [event["id"] for event in amqp.events(3)]

    assert (before, meanwhile, after) == (204, [204] * 3, [204] * 3)
    assert unready == 200
    assert ids == [inbound_id(name) for name in ("m1", "m2", "m3")]
    assert amqp.depth("test.events") == 0


def test_a_ledger_that_stands_still_holds_up_no_answer(
    start_ingest: StartIngest, postgresql: Postgres, postgresql_url: str, amqp: BrokerClient
) -> None:
    one, webhook = start_ingest(BRIDGE_LEDGER__URL=postgresql_url)
    webhook.post(inbound("m0"))
    postgresql.freeze()
    statuses = [webhook.post(inbound(f"m{number}")).status for number in range(1, 21)]
    slow = [line for line in one.logs.splitlines() if re.search(r'"ms": [0-9]{4,}', line)]
    postgresql.thaw()
    events = amqp.events(21)

    assert statuses == [204] * 20
    assert slow == []
    assert len({event["id"] for event in events}) == 21


def test_a_ledger_and_a_broker_that_stand_still_hold_up_an_answer_for_one_time_together(
    start_ingest: StartIngest, postgresql: Postgres, postgresql_url: str, rabbitmq: Broker
) -> None:
    postgresql.freeze()
    _, webhook = start_ingest(BRIDGE_LEDGER__URL=postgresql_url, BRIDGE_INGEST__CONFIRM_TIMEOUT="2")
    receipt = {"address": "+1", "deliveryStatus": "DeliveredToTerminal", "messageId": "m1"}
    with rabbitmq.frozen():
        began = time.monotonic()
        status = webhook.post({"deliveryInfoNotification": {"deliveryInfo": receipt}}).status
        took = time.monotonic() - began
    postgresql.thaw()

    assert status == 503
    assert 2 <= took < 3.5
