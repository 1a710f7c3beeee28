"""What another service sends with the client: confirmed means stored, and everything else is said."""

from __future__ import annotations

import itertools
import os
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from bridge.adapters.amqp.confirm_channel import WINDOW
from bridge.client import (
    AuthenticationError,
    BatchPartiallySent,
    BrokerUnavailable,
    Client,
    Closed,
    Command,
    CommandRefused,
    InvalidCommand,
    LoginRefused,
    NoOutcomeYet,
    NotSent,
    Unconfirmed,
    Unroutable,
)
from bridge.domain.events import INVALID, SENT
from tests.broker.client_setup import TO, Worker, client, outcome, prepare
from tests.harness.chaos_proxy import DOWN, UP, ChaosProxy
from tests.harness.contract_check import is_command
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from tests.harness.broker import Broker
    from tests.harness.broker_client import BrokerClient

pytestmark = pytest.mark.broker

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#: Enough that a broker dies in the midst of them.
MANY = 3000
#: Seconds that no test of this file waits for in vain.
TIMEOUT = 60.0


@pytest.fixture
def prepared(amqp: BrokerClient) -> BrokerClient:
    """Return the peer, with the commands exchange and its queue."""
    prepare(amqp)
    return amqp


def through(proxy: ChaosProxy, url: str) -> str:
    """Return the broker's URL by way of the proxy."""
    head, _, vhost = url.rpartition("/")
    return f"{head.rpartition(':')[0]}:{proxy.port}/{vhost}"


def many(number: int) -> list[Command]:
    return [Command(to=TO, message=f"text {n}", id=f"c{n}") for n in range(number)]


def on_queue(peer: BrokerClient) -> set[str]:
    """Take all commands off the queue; return their ids."""
    ids = set()
    while (message := peer.get("sms.send")) is not None:
        ids.add(message.json["id"])
    return ids


def test_a_command_is_on_its_queue_when_send_returns(prepared: BrokerClient) -> None:
    with client(prepared.url) as sms:
        sent = sms.send(
            to=[TO, "+16131234568"],
            message="Grüße",
            sender="+16139998877",
            id="order-17",
            expires_at="2037-01-01T00:00:00Z",
            metadata={"order": "17"},
            traceparent=TRACE,
        )
    (command,) = prepared.take("sms.send")

    assert (sent.id, sent.destinations) == ("order-17", 2)
    assert command.json == {
        "id": "order-17",
        "destination_address": [TO, "+16131234568"],
        "sender_address": "+16139998877",
        "message": "Grüße",
        "expires_at": "2037-01-01T00:00:00Z",
        "metadata": {"order": "17"},
    }
    assert is_command(command.json)
    assert command.headers["traceparent"] == TRACE
    assert {key: command.properties[key] for key in ("message_id", "delivery_mode", "content_type")} == {
        "message_id": "order-17",
        "delivery_mode": 2,
        "content_type": "application/json",
    }


def test_command_without_an_id_gets_one_and_returns_it(prepared: BrokerClient) -> None:
    with client(prepared.url) as sms:
        one, other = sms.send(to=TO, message="a"), sms.send(to=TO, message="a")
    sent = prepared.take("sms.send", 2)

    assert [message.json["id"] for message in sent] == [one.id, other.id]
    assert one.id != other.id


def test_invalid_command_is_not_published_and_needs_no_broker() -> None:
    with (
        client(f"amqp://127.0.0.1:{free_port()}/") as sms,
        pytest.raises(InvalidCommand, match=r"to is not one.*; message is empty"),
    ):
        sms.send(to="nobody", message="")


def test_of_a_batch_with_a_mistake_in_it_nothing_is_published(prepared: BrokerClient) -> None:
    with client(prepared.url) as sms:
        with pytest.raises(InvalidCommand) as invalid:
            sms.send_many([*many(2), Command(to=TO, message=""), Command(to="?", message="a")])
        sms.send(to=TO, message="the only one", id="only")

    assert invalid.value.reasons[0] == "commands[2]: message is empty"
    assert len(invalid.value.reasons) == 2
    assert on_queue(prepared) == {"only"}


def test_a_missing_exchange_or_queue_is_named_and_said_at_once(amqp: BrokerClient) -> None:
    with client(amqp.url) as sms:
        with pytest.raises(Unroutable, match=r"no exchange sms\.commands.*topology declare"):
            sms.send(to=TO, message="a")
        with amqp.channel() as channel:
            channel.exchange_declare("sms.commands", "topic", durable=True, auto_delete=False)
        with pytest.raises(Unroutable, match=r"sms\.commands has no queue.*sms\.send.*topology declare"):
            sms.send(to=TO, message="a", id="mine")
        prepare(amqp)
        sms.send(to=TO, message="a", id="mine")

    assert on_queue(amqp) == {"mine"}


def test_a_full_queue_refuses_what_has_no_room_and_nothing_else(amqp: BrokerClient) -> None:
    prepare(amqp, {"x-max-length": 1, "x-overflow": "reject-publish"})
    with client(amqp.url) as sms:
        sms.send(to=TO, message="a", id="first")
        with pytest.raises(CommandRefused, match="full") as refused:
            sms.send(to=TO, message="a", id="second")

    assert refused.value.id == "second"
    assert on_queue(amqp) == {"first"}


def test_of_a_batch_that_has_no_room_it_is_said_which_have(amqp: BrokerClient) -> None:
    prepare(amqp, {"x-max-length": 5, "x-overflow": "reject-publish"})
    with (
        client(amqp.url) as sms,
        pytest.raises(BatchPartiallySent, match="of 20 commands not sent") as partly,
    ):
        sms.send_many(many(20))

    assert {type(one) for one in partly.value.failed} == {CommandRefused}
    assert len(partly.value.sent) + len(partly.value.failed) == 20
    assert on_queue(amqp) == {one.id for one in partly.value.sent}


def test_a_broker_that_is_away_is_said_with_its_place_and_without_its_password() -> None:
    port = free_port()
    with (
        client(f"amqp://guest:hunter2@127.0.0.1:{port}/", timeout=1.0) as sms,
        pytest.raises(BrokerUnavailable, match=str(port)) as away,
    ):
        sms.send(to=TO, message="a")

    assert "hunter2" not in str(away.value)
    assert isinstance(away.value, ConnectionError)


def test_a_wrong_password_is_said_at_once_and_each_time(vhost_url: str) -> None:
    wrong = vhost_url.replace("guest:guest", "guest:hunter2")
    began = time.monotonic()
    with client(wrong, timeout=TIMEOUT) as sms:
        with pytest.raises(AuthenticationError, match="ACCESS_REFUSED") as refused:
            sms.send(to=TO, message="a", id="c1")
        with pytest.raises(AuthenticationError, match="ACCESS_REFUSED"):
            sms.send_and_wait(to=TO, message="a")
        with pytest.raises(BatchPartiallySent) as partly:
            sms.send_many([Command(to=TO, message="a")])

    assert time.monotonic() - began < TIMEOUT / 2
    assert isinstance(refused.value, LoginRefused)
    assert refused.value.id == "c1"
    assert not isinstance(refused.value, ConnectionError)
    assert "hunter2" not in str(refused.value)
    assert [type(one) for one in partly.value.failed] == [LoginRefused]


def test_a_vhost_that_is_not_there_is_said_at_once(vhost_url: str) -> None:
    began = time.monotonic()
    with (
        client(f"{vhost_url}-typo", timeout=TIMEOUT) as sms,
        pytest.raises(AuthenticationError, match=r"vhost .* not found"),
    ):
        sms.send(to=TO, message="a")

    assert time.monotonic() - began < TIMEOUT / 2


def test_a_user_that_is_made_meanwhile_is_let_in(prepared: BrokerClient, rabbitmq: Broker) -> None:
    name = prepared.url.rpartition("/")[2]
    with client(prepared.url.replace("guest:guest", f"late-{name}:pw"), timeout=TIMEOUT) as sms:
        with pytest.raises(AuthenticationError):
            sms.send(to=TO, message="a")
        rabbitmq.add_user(name, f"late-{name}", "pw")
        wait_until(lambda: is_let_in(sms), within=20, what="the new user")

    assert "late" in on_queue(prepared)


def is_let_in(sms: Client) -> bool:
    try:
        sms.send(to=TO, message="a", id="late")
    except AuthenticationError:
        return False
    return True


def test_of_several_addresses_the_first_that_lets_us_in_is_used(prepared: BrokerClient) -> None:
    absent = f"amqp://guest:guest@127.0.0.1:{free_port()}/{prepared.url.rpartition('/')[2]}"
    wrong = prepared.url.replace("guest:guest", "guest:hunter2")
    for number, urls in enumerate([[absent, wrong, prepared.url], f"{wrong},{absent},{prepared.url}"]):
        with client(urls, timeout=TIMEOUT) as sms:
            sms.send(to=TO, message="a", id=f"c{number}")

    assert on_queue(prepared) == {"c0", "c1"}


def test_where_one_address_refuses_and_one_is_absent_the_broker_may_come_back(vhost_url: str) -> None:
    wrong = vhost_url.replace("guest:guest", "guest:hunter2")
    absent = f"amqp://guest:guest@127.0.0.1:{free_port()}/{vhost_url.rpartition('/')[2]}"
    with client([wrong, absent], timeout=1.0) as sms, pytest.raises(BrokerUnavailable):
        sms.send(to=TO, message="a")


def test_an_alarm_of_the_broker_is_named(prepared: BrokerClient, rabbitmq: Broker) -> None:
    with client(prepared.url, timeout=1.0) as sms:
        sms.send(to=TO, message="a", id="before")
        with rabbitmq.memory_alarm():
            with pytest.raises(NotSent):
                # The broker says that it is blocked once something is published.
                sms.send(to=TO, message="a", id="during")
            with pytest.raises(NotSent, match="alarm"):
                sms.send(to=TO, message="a", id="again")


def test_a_broker_that_stands_still_confirms_nothing(prepared: BrokerClient, rabbitmq: Broker) -> None:
    with client(prepared.url, timeout=1.0) as sms:
        sms.send(to=TO, message="a", id="before")
        with rabbitmq.frozen(), pytest.raises(Unconfirmed) as unconfirmed:
            sms.send(to=TO, message="a", id="during")

    assert unconfirmed.value.id == "during"


def test_timed_out_command_is_not_published_later(prepared: BrokerClient, proxy: ChaosProxy) -> None:
    with client(through(proxy, prepared.url), timeout=1.0) as sms:
        sms.send(to=TO, message="a", id="before")
        proxy.refuse()
        with pytest.raises(NotSent):
            sms.send(to=TO, message="a", id="during")
        proxy.pass_through()
        wait_until(lambda: _sends(sms, "after"), what="a connection")

    assert on_queue(prepared) == {"before", "after"}


def _sends(sms: Any, command_id: str) -> bool:
    try:
        sms.send(to=TO, message="a", id=command_id)
    except NotSent:
        return False
    return True


def test_a_lost_confirm_costs_a_copy_with_the_same_id_and_no_error(
    prepared: BrokerClient, proxy: ChaosProxy
) -> None:
    with client(through(proxy, prepared.url), timeout=4.0) as sms:
        sms.send(to=TO, message="a", id="before")
        proxy.black_hole(DOWN)
        sending = threading.Thread(target=sms.send, kwargs={"to": TO, "message": "a", "id": "twice"})
        sending.start()
        wait_until(lambda: proxy.counters.swallowed[DOWN] > 0, what="a swallowed confirm")
        proxy.reset()
        proxy.pass_through()
        sending.join()
    ids = [message.json["id"] for message in prepared.take("sms.send", 3)]

    assert ids == ["before", "twice", "twice"]


def test_command_published_before_its_queue_was_lost_is_unconfirmed(
    prepared: BrokerClient, proxy: ChaosProxy
) -> None:
    failures: list[NotSent] = []

    def send() -> None:
        try:
            sms.send(to=TO, message="a", id="perhaps")
        except NotSent as e:
            failures.append(e)

    with client(through(proxy, prepared.url), timeout=8.0) as sms:
        sms.send(to=TO, message="a", id="before")
        proxy.black_hole(DOWN)
        sending = threading.Thread(target=send)
        sending.start()
        wait_until(lambda: proxy.counters.swallowed[DOWN] > 0, what="a swallowed confirm")
        prepared.unbind("sms.send", "sms.commands", "send")
        proxy.reset()
        proxy.pass_through()
        sending.join()
    (error,) = failures

    assert isinstance(error, Unconfirmed)
    assert "no queue" in str(error)
    assert on_queue(prepared) == {"before", "perhaps"}


def test_a_batch_is_confirmed_together_and_keeps_its_order(prepared: BrokerClient) -> None:
    with client(prepared.url) as sms:
        sent = sms.send_many(many(200))
        assert sms.send_many([]) == []
    ids = [message.json["id"] for message in prepared.take("sms.send", 200)]

    assert ids == [one.id for one in sent] == [f"c{n}" for n in range(200)]


def test_a_batch_goes_on_where_the_broker_was_killed_and_came_back(
    prepared: BrokerClient, rabbitmq: Broker
) -> None:
    sent: list[str] = []
    with client(prepared.url, timeout=60.0) as sms:
        sms.send(to=TO, message="a", id="before")
        rabbitmq.settle()
        sending = threading.Thread(target=lambda: sent.extend(one.id for one in sms.send_many(many(MANY))))
        sending.start()
        wait_until(lambda: prepared.depth("sms.send") > 1, what="some of the batch")
        was_under_way = sending.is_alive()
        rabbitmq.restart(settle=False)
        sending.join(60)

    assert was_under_way
    assert len(sent) == MANY
    assert on_queue(prepared) == {*sent, "before"}


def test_confirmed_commands_survive_the_broker_and_the_rest_is_reported(
    prepared: BrokerClient, rabbitmq: Broker
) -> None:
    failures: list[BatchPartiallySent] = []
    number = 4 * MANY

    def send() -> None:
        try:
            sms.send_many(many(number), timeout=6.0)
        except BatchPartiallySent as e:
            failures.append(e)

    with client(prepared.url) as sms:
        sms.send(to=TO, message="a", id="before")
        rabbitmq.settle()
        sending = threading.Thread(target=send)
        sending.start()
        # More than may be on its way without a confirm: so some of them are confirmed.
        wait_until(lambda: prepared.depth("sms.send") > WINDOW + 1, what="some of the batch")
        rabbitmq.kill(settle=False)
        sending.join(30)
    rabbitmq.start()
    there = on_queue(prepared)
    (partly,) = failures
    sent = {one.id for one in partly.sent}
    unconfirmed = {one.id for one in partly.failed if isinstance(one, Unconfirmed)}
    certain = {one.id for one in partly.failed if isinstance(one, BrokerUnavailable)}

    assert sent
    # At the broker's death none, or as many as may be on their way, had no confirm.
    assert unconfirmed or certain
    assert len(sent) + len(unconfirmed) + len(certain) == number
    assert sent <= there
    assert not certain & there


def has_cut(proxy: ChaosProxy, times: int) -> bool:
    """Whether so many connections were cut."""
    return proxy.counters.cuts >= times


def test_in_a_network_that_cuts_everything_off_no_answer_is_wrong(
    prepared: BrokerClient, proxy: ChaosProxy
) -> None:
    sent: list[str] = []
    failed: list[NotSent] = []
    over = threading.Event()

    def send(thread: int) -> None:
        for number in itertools.count():
            if over.is_set():
                return
            try:
                sent.append(sms.send(to=TO, message="a", id=f"{thread}-{number}").id)
            except NotSent as e:
                failed.append(e)

    with client(through(proxy, prepared.url), timeout=4.0) as sms:
        threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for number in range(1, 6):
            # In the midst of a command, or of its confirm: whatever comes first after so many bytes.
            proxy.cut_after(5_000 + number, UP if number % 2 else DOWN)
            wait_until(partial(has_cut, proxy, number), 20, what="a cut")
        over.set()
        for thread in threads:
            thread.join(20)
    there = on_queue(prepared)

    assert len(sent) > 100
    assert set(sent) <= there
    assert not {one.id for one in failed if not isinstance(one, Unconfirmed)} & there


def test_many_threads_share_one_client(prepared: BrokerClient, rabbitmq: Broker, vhost: str) -> None:
    with client(prepared.url) as sms:
        threads = [
            threading.Thread(target=sms.send, kwargs={"to": TO, "message": "a", "id": f"t{n}"})
            for n in range(40)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        connections = rabbitmq.connections(vhost)

    # The other one is the test's own.
    assert connections <= 2
    assert on_queue(prepared) == {f"t{n}" for n in range(40)}


def test_outcomes_are_waited_for_and_come_in_the_order_of_the_destinations(prepared: BrokerClient) -> None:
    worker = Worker(
        prepared, [b"no event", outcome("c1", 1), outcome("c1", 0)], [outcome("c2", None, INVALID)]
    )
    with client(prepared.url) as sms:
        both = sms.send_and_wait(to=[TO, "+16131234568"], message="a", id="c1", wait=10)
        invalid = sms.send_and_wait(to=[TO, "+16131234568"], message="a", id="c2", wait=10)
    worker.join()

    assert [one.index for one in both.outcomes] == [0, 1]
    assert [one.type for one in both.outcomes] == [SENT, SENT]
    assert both.is_sent
    assert [one.status for one in invalid.outcomes] == [invalid.status] == ["invalid"]
    assert not invalid.is_sent


def test_wait_without_all_outcomes_has_those_that_came(prepared: BrokerClient) -> None:
    worker = Worker(prepared, [outcome("c1", 1)])
    with client(prepared.url) as sms, pytest.raises(NoOutcomeYet, match="1 of 2") as late:
        sms.send_and_wait(to=[TO, "+16131234568"], message="a", id="c1", wait=1.0)
    worker.join()

    assert [one.index for one in late.value.result.outcomes] == [1]
    assert late.value.result.sent.id == "c1"


def test_lost_connection_during_a_wait_publishes_the_command_again(
    prepared: BrokerClient, proxy: ChaosProxy
) -> None:
    results: list[Any] = []
    with client(through(proxy, prepared.url)) as sms:
        waiting = threading.Thread(
            target=lambda: results.append(sms.send_and_wait(to=TO, message="a", id="c1", wait=20))
        )
        waiting.start()
        (first,) = prepared.take("sms.send")
        proxy.reset()
        worker = Worker(prepared, [outcome("c1")])
        waiting.join(20)
        worker.join()

    assert first.json["id"] == "c1"
    assert [one.command_id for one in results[0].outcomes] == ["c1"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_closed_client_says_so_and_so_does_one_that_was_taken_through_a_fork(
    prepared: BrokerClient,
) -> None:
    with client(prepared.url) as sms:
        sms.send(to=TO, message="a")
        child = os.fork()
        if not child:
            # Nothing of the parent's may be closed, torn down or reported from here.
            try:
                sms.send(to=TO, message="a")
            except Closed:
                os._exit(7)
            os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sms.send(to=TO, message="the parent goes on")
    with pytest.raises(Closed):
        sms.send(to=TO, message="a")

    assert code == 7
