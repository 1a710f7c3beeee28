"""TLS to a real broker: whose certificate is accepted, what a refusal says, and a client certificate as a login."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.amqp.connection import Broker as Connection
from bridge.adapters.amqp.handshake import BrokerAddress, BrokerRefused, BrokerUnreachable
from bridge.client import AuthenticationError, Client, Options, aio
from bridge.domain.broker_parameters import TlsFiles
from bridge.domain.broker_url import read_broker_urls
from bridge.domain.messages import Outgoing
from tests.broker.aio_setup import run
from tests.broker.amqp_setup import (
    NAMES,
    Inbox,
    StoredEvent,
    make_command_queue,
    make_consumer,
    make_publisher,
)
from tests.broker.client_setup import QUEUE, TO, prepare
from tests.harness.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def unknown_client(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return an authority that the broker does not know, nor anything else."""
    return Authority(tmp_path_factory.mktemp("stranger"))


def address(url: str, **files: Path) -> BrokerAddress:
    names = {name: str(path) for name, path in files.items()}
    return BrokerAddress(nodes=read_broker_urls([url], TlsFiles(**names)), connect_timeout=5.0)


def opened(url: str, **files: Path) -> Connection:
    return Connection.open(address(url, **files), "test")


def refusal(url: str, **files: Path) -> str:
    """Return why no connection is made, for good."""
    with pytest.raises(BrokerRefused) as refused:
        opened(url, **files)
    return str(refused.value)


def test_a_certificate_of_the_named_authority_for_this_host_is_accepted(rabbitmq: Broker, vhost: str) -> None:
    connection = opened(rabbitmq.tls_url(vhost), ca_file=rabbitmq.authority.certificate)
    version = connection.sock.version()  # type: ignore[attr-defined]
    connection.close()

    assert version in {"TLSv1.2", "TLSv1.3"}


def test_a_certificate_for_another_name_is_refused(rabbitmq: Broker, vhost: str) -> None:
    reason = refusal(rabbitmq.tls_url(vhost, "127.0.0.1"), ca_file=rabbitmq.authority.certificate)

    assert "its certificate is not accepted" in reason
    assert "127.0.0.1" in reason
    assert "server_name_indication" in reason
    assert "guest" not in reason


def test_an_authority_that_the_system_does_not_know_is_refused_without_a_file(
    rabbitmq: Broker, vhost: str, unknown_client: Authority
) -> None:
    by_system = refusal(rabbitmq.tls_url(vhost))
    by_another = refusal(rabbitmq.tls_url(vhost), ca_file=unknown_client.certificate)

    assert "set ca_file" in by_system
    assert "set ca_file" in by_another


def test_the_url_names_the_authority_and_the_name_and_can_turn_the_check_off(
    rabbitmq: Broker, vhost: str
) -> None:
    named = f"?cacertfile={rabbitmq.authority.certificate}&server_name_indication=localhost"
    for parameters in (named, "?verify=verify_none"):
        opened(rabbitmq.tls_url(vhost, "127.0.0.1", parameters)).close()


def test_a_client_certificate_is_a_login(rabbitmq: Broker, vhost: str, unknown_client: Authority) -> None:
    name = f"shop-{vhost}"
    certificate, key = rabbitmq.authority.issue(name)
    rabbitmq.add_user(vhost, name, "unused")
    url = rabbitmq.tls_url(vhost, parameters="?auth_mechanism=external").replace("guest:guest@", "")
    ca = rabbitmq.authority.certificate
    opened(url, ca_file=ca, certificate=certificate, key=key).close()
    theirs, their_key = unknown_client.issue(name)

    assert "refuses us" in refusal(url, ca_file=ca)
    assert "our certificate" in refusal(url, ca_file=ca, certificate=theirs, key=their_key)


def test_a_mechanism_that_the_broker_does_not_offer_is_named(rabbitmq: Broker, vhost: str) -> None:
    # Without TLS it has no certificate to look at.
    assert "auth_mechanism" in refusal(f"{rabbitmq.url(vhost)}?auth_mechanism=external")


def test_each_mechanism_with_a_password_logs_in(rabbitmq: Broker, vhost: str) -> None:
    for mechanism in ("plain", "amqplain", "external&auth_mechanism=plain"):
        opened(f"{rabbitmq.url(vhost)}?auth_mechanism={mechanism}").close()


def test_a_port_without_tls_says_so(rabbitmq: Broker, vhost: str) -> None:
    url = rabbitmq.tls_url(vhost).replace(str(rabbitmq.tls_port), str(rabbitmq.port))
    with pytest.raises(BrokerUnreachable, match="does not speak TLS") as unreachable:
        opened(url)

    assert not isinstance(unreachable.value, BrokerRefused)


def test_a_file_that_is_gone_by_then_is_named_and_tried_again(
    rabbitmq: Broker, vhost: str, tmp_path: Path
) -> None:
    with pytest.raises(BrokerUnreachable, match="ca_file can't be read") as unreachable:
        opened(rabbitmq.tls_url(vhost), ca_file=tmp_path / "gone.pem")

    assert not isinstance(unreachable.value, BrokerRefused)


def test_the_limits_of_the_url_are_those_of_the_connection(rabbitmq: Broker, vhost: str) -> None:
    connection = opened(f"{rabbitmq.url(vhost)}?channel_max=12&heartbeat=7")
    seen = connection.connection.channel_max, connection.connection.heartbeat
    connection.close()

    assert seen == (12, 7)


def test_large_messages_pass_in_both_directions(rabbitmq: Broker, amqp: BrokerClient) -> None:
    make_command_queue(amqp)
    vhost = amqp.url.rpartition("/")[2]
    url = rabbitmq.tls_url(vhost, parameters=f"?cacertfile={rabbitmq.authority.certificate}")
    bodies = [bytes([number]) * size for number, size in enumerate((1, 16_384, 300_000, 1_000_000))]
    inbox, confirmed = Inbox(), StoredEvent()
    publisher, consumer = make_publisher(url), make_consumer(url, inbox)
    publisher.start()
    consumer.start()
    for number, body in enumerate(bodies):
        publisher.publish(
            Outgoing(exchange="", routing_key=NAMES.command_queue, body=body), confirmed.of(number)
        )
    inbox.wait(len(bodies), within=30)
    confirmed.wait(*range(len(bodies)), within=30)
    publisher.stop()
    consumer.stop()

    assert [delivery.body for delivery in inbox.deliveries] == bodies


def test_a_broker_that_stands_still_is_left_at_once(rabbitmq: Broker, vhost: str) -> None:
    connection = opened(rabbitmq.tls_url(vhost), ca_file=rabbitmq.authority.certificate)
    left = threading.Event()

    def leave() -> None:
        connection.abandon()
        left.set()

    with rabbitmq.frozen():
        threading.Thread(target=leave, daemon=True).start()

        # Less than a write may take: it would wait for the good-bye of TLS otherwise.
        assert left.wait(8)


def test_the_client_checks_the_certificate_too(rabbitmq: Broker, amqp: BrokerClient) -> None:
    prepare(amqp)
    vhost = amqp.url.rpartition("/")[2]
    options = Options(ca_file=rabbitmq.authority.certificate)
    with (
        Client(rabbitmq.tls_url(vhost, "127.0.0.1"), options, timeout=60) as sms,
        pytest.raises(AuthenticationError, match="certificate is not accepted"),
    ):
        sms.send(to=TO, message="a")
    with Client(rabbitmq.tls_url(vhost), options, timeout=60) as sms:
        sent = sms.send(to=TO, message="a", id="c1")

    assert sent.id == "c1"


def test_the_asyncio_client_checks_the_certificate_too(rabbitmq: Broker, amqp: BrokerClient) -> None:
    prepare(amqp)
    vhost = amqp.url.rpartition("/")[2]
    options = Options(ca_file=rabbitmq.authority.certificate)

    async def main() -> aio.Sent:
        async with aio.Client(rabbitmq.tls_url(vhost, "127.0.0.1"), options, timeout=60) as sms:
            with pytest.raises(AuthenticationError, match="certificate is not accepted"):
                await sms.send(to=TO, message="a")
        async with aio.Consumer(rabbitmq.tls_url(vhost, "127.0.0.1"), QUEUE, options=options) as events:
            with pytest.raises(AuthenticationError, match="certificate is not accepted"):
                await events.run(print)
        async with aio.Client(rabbitmq.tls_url(vhost), options, timeout=60) as sms:
            return await sms.send(to=TO, message="a", id="c1")

    assert run(main()).id == "c1"
