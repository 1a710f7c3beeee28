"""What a collector is told of commands and webhooks, and that nobody else notices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.bench import DESTINATION, body_of, running, text_of
from tests.harness.trace_collector import Collector
from tests.harness.waiting import free_port, wait_until
from tests.harness.webhook import Webhook, inbound, listening_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.bench import Running
    from tests.conftest import StartBridge
    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

SECRET = "Bearer tangerine-4711"
TRACE = "0af7651916cd43dd8448eb211c80319c"
SENDER = "b7ad6b7169203331"
CONSUMER, CLIENT, PRODUCER, SERVER = 5, 3, 4, 2


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running_collector:
        yield running_collector


@pytest.fixture(scope="module")
def bridge(
    rabbitmq: Broker, tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> Iterator[Running]:
    settings = {"TRACING__ENDPOINT": collector.url, "RETRY__IN_PROCESS": "0", "RETRY__BASE": "0.2"}
    with running(rabbitmq, tmp_path_factory.mktemp("traced"), **settings) as bench:
        yield bench


def test_a_command_is_followed_from_its_sender_to_the_call_and_the_event(
    bridge: Running, collector: Collector
) -> None:
    bridge.amqp.publish(body_of("traced"), headers={"traceparent": f"00-{TRACE}-{SENDER}-01"})
    (event,) = bridge.outcomes("traced")
    collector.wait(lambda span: span.trace_id == TRACE, 3)
    spans = {span.kind: span for span in collector.spans if span.trace_id == TRACE}
    consumer, call, publishing = spans[CONSUMER], spans[CLIENT], spans[PRODUCER]

    assert (consumer.name, consumer.parent_id) == ("process sms.commands:send", SENDER)
    assert (call.parent_id, publishing.parent_id) == (consumer.span_id, consumer.span_id)
    assert call.attributes["http.response.status_code"] == 201
    assert call.attributes["url.template"].endswith("/outbound/{senderAddress}/requests")
    assert publishing.name == "send sms.events:sms.outbound.sent"
    assert consumer.attributes["messaging.message.id"] == "traced"
    # Whoever consumes the event goes on from there.
    assert event.json["traceparent"].startswith(consumer.context)
    assert not any(span.is_error for span in spans.values())


def test_a_call_that_fails_is_an_error_of_its_own_and_the_next_one_belongs_to_the_trace_too(
    bridge: Running, collector: Collector
) -> None:
    trace = "1" * 32
    bridge.provider.faults({"name": "status", "status": 503, "retry_after": "0"})
    bridge.amqp.publish(body_of("again"), headers={"traceparent": f"00-{trace}-{SENDER}-01"})
    bridge.outcomes("again")
    calls = collector.wait(lambda span: span.trace_id == trace and span.kind == CLIENT, 2)

    assert [(call.attributes["http.response.status_code"], call.is_error) for call in calls] == [
        (503, True),
        (201, False),
    ]


def test_what_its_sender_does_not_sample_is_not_sampled(bridge: Running, collector: Collector) -> None:
    unsampled, sampled = "2" * 32, "3" * 32
    bridge.amqp.publish(body_of("unsampled"), headers={"traceparent": f"00-{unsampled}-{SENDER}-00"})
    (event,) = bridge.outcomes("unsampled")
    bridge.amqp.publish(body_of("sampled"), headers={"traceparent": f"00-{sampled}-{SENDER}-01"})
    bridge.outcomes("sampled")
    collector.wait(lambda span: span.trace_id == sampled, 3)

    assert unsampled not in {span.trace_id for span in collector.spans}
    # The event says so, too: nobody down the line samples it.
    assert event.json["traceparent"].startswith(f"00-{unsampled}-")
    assert event.json["traceparent"].endswith("-00")


def test_no_span_has_a_number_a_text_or_the_account_in_it(bridge: Running, collector: Collector) -> None:
    trace = "4" * 32
    command_id = f"to {DESTINATION}"
    bridge.amqp.publish(body_of(command_id), headers={"traceparent": f"00-{trace}-{SENDER}-01"})
    bridge.outcomes(command_id)
    collector.wait(lambda span: span.trace_id == trace, 3)
    published = b"".join(collector.raw)

    assert DESTINATION.strip("+").encode() not in published
    assert b"16139998877" not in published
    assert text_of(command_id).encode() not in published
    assert b"hunter2" not in published


def test_a_webhook_begins_a_trace_that_its_event_carries_on(
    bridge_process: StartBridge, vhost_url: str, amqp: BrokerClient, collector: Collector, tmp_path: Path
) -> None:
    amqp.collect()
    process = bridge_process(
        "ingest",
        env={
            "BRIDGE_BROKER__URL": vhost_url,
            "BRIDGE_INGEST__PORT": "0",
            "BRIDGE_LEDGER__URL": f"sqlite:///{tmp_path}/ledger.sqlite3",
            "BRIDGE_TRACING__ENDPOINT": collector.url,
        },
    )
    webhook = Webhook(port=listening_port(process))
    accepted, refused = webhook.post(inbound("traced-1")), webhook.post([])
    (event,) = amqp.events(1)
    (server,) = collector.wait(
        lambda span: span.kind == SERVER and span.attributes["http.response.status_code"] == 204
    )
    (publishing,) = collector.wait(lambda span: span.parent_id == server.span_id)
    collector.wait(lambda span: span.attributes.get("http.response.status_code") == 400)

    assert (accepted.status, refused.status) == (204, 400)
    assert (server.name, server.parent_id) == ("POST /inbound-sms/webhook", "")
    assert (publishing.kind, publishing.name) == (PRODUCER, "send sms.events:sms.inbound.received")
    assert event["traceparent"].startswith(server.context)


def test_a_command_over_http_is_followed_from_who_hands_it_over_to_the_queue(
    bridge_process: StartBridge, vhost_url: str, amqp: BrokerClient, collector: Collector, tmp_path: Path
) -> None:
    trace = "5" * 32
    process = bridge_process(
        "ingest",
        env={
            "BRIDGE_BROKER__URL": vhost_url,
            "BRIDGE_INGEST__PORT": "0",
            "BRIDGE_SUBMIT__PORT": "0",
            "BRIDGE_SUBMIT__AUTHORIZATION": SECRET,
            "BRIDGE_LEDGER__URL": f"sqlite:///{tmp_path}/ledger.sqlite3",
            "BRIDGE_TRACING__ENDPOINT": collector.url,
        },
    )
    port = listening_port(process, "submit.listening")
    endpoint = Webhook(port=port, path="/v1/messages", authorization=SECRET)
    traceparent = f"00-{trace}-{SENDER}-01"
    wait_until(lambda: endpoint.post(body_of("handed"), traceparent=traceparent).status == 202)
    refused = endpoint.post({"id": "refused"}, traceparent=traceparent)
    command = amqp.get("sms.send")
    (server,) = collector.wait(
        lambda span: span.trace_id == trace and span.attributes["http.response.status_code"] == 202
    )
    collector.wait(
        lambda span: span.trace_id == trace and span.attributes["http.response.status_code"] == 422
    )

    assert refused.status == 422
    assert (server.kind, server.name, server.parent_id) == (SERVER, "POST /v1/messages", SENDER)
    assert command is not None
    assert command.headers["traceparent"].startswith(server.context)


def test_a_collector_that_is_away_keeps_nobody_waiting(rabbitmq: Broker, tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/v1/traces"
    with running(rabbitmq, tmp_path, TRACING__ENDPOINT=nowhere) as bench:
        for number in range(20):
            bench.send(f"alone-{number}")
        for number in range(20):
            assert bench.outcome(f"alone-{number}")[0] == "sent"
        bench.settled()

        assert bench.worker.stop() == 0
        assert bench.worker.logs.count("tracing.failed") <= 1
