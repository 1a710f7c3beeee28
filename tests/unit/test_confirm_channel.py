"""A channel with publisher confirms, on a fake broker."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, cast

import pytest

from bridge.adapters.amqp.confirm_channel import ConfirmChannel, ConfirmLate, Publish
from bridge.domain.messages import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.message_encoder import Encoded


def publish(number: int) -> Publish:
    """Return a publish, identified by its number."""
    message = Outgoing(exchange="sms.events", routing_key="k", body=b"%d" % number)
    return Publish(message, lambda: None, ("sms.events", "k"))


class Channel:
    """A channel of the fake broker."""

    def __init__(self) -> None:
        """Start without callbacks."""
        self.events: dict[str, set[Callable[..., None]]] = defaultdict(set)

    def confirm_select(self) -> None:
        """Ignore it: the test confirms or refuses everything."""

    def confirm(self, tag: int) -> None:
        """Answer for a publish with an ack."""
        for called in self.events["basic_ack"]:
            called(tag, False)

    def refuse(self, tag: int) -> None:
        """Answer for a publish with a nack."""
        for called in self.events["basic_nack"]:
            called(tag, False)


class FakeBroker:
    """A connection that records written messages with their channel."""

    has_capacity = True
    blocked = False
    frame_max = 131_072

    def __init__(self) -> None:
        """Start with no channel."""
        self.channels: list[Channel] = []
        self.forgotten: list[Channel] = []
        self.written: list[tuple[Channel, bytes]] = []

    def channel(self) -> Channel:
        """Open a channel."""
        self.channels.append(Channel())
        return self.channels[-1]

    def forget_channel(self, channel: Channel) -> None:
        """Close a channel."""
        self.forgotten.append(channel)

    def gather(self, channel: Channel, message: Encoded, *_address: str) -> None:
        """Keep a publish."""
        self.written.append((channel, message.body))


def test_refused_channel_writes_nothing_until_all_is_confirmed_and_is_replaced() -> None:
    fake, refused = FakeBroker(), list[Publish]()
    broker = cast("Broker", fake)
    channel = ConfirmChannel[Publish](refused=refused.append, returned=refused.append)
    channel.open(broker)
    channel.waiting += publish(1), publish(2)
    assert channel.write(broker, 1.0)
    channel.waiting.append(publish(3))
    (first,) = fake.channels

    first.refuse(1)
    assert not channel.write(broker, 2.0)
    assert fake.forgotten == []

    first.refuse(2)
    assert channel.write(broker, 3.0)
    assert fake.forgotten == [first]
    assert fake.written == [(first, b"1"), (first, b"2"), (fake.channels[1], b"3")]
    assert [one.message.body for one in refused] == [b"1", b"2"]


def test_renewed_channel_returns_unconfirmed_messages() -> None:
    fake = FakeBroker()
    broker = cast("Broker", fake)
    channel = ConfirmChannel[Publish](refused=lambda _: None, returned=lambda _: None)
    channel.open(broker)
    channel.waiting += publish(1), publish(2)
    channel.write(broker, 1.0)

    assert [one.message.body for one in channel.renew(broker)] == [b"1", b"2"]
    assert not channel.unconfirmed
    assert fake.forgotten == fake.channels[:1]


def test_confirm_is_late_after_the_deadline_but_not_for_an_alarm_of_the_broker() -> None:
    fake = FakeBroker()
    broker = cast("Broker", fake)
    channel = ConfirmChannel[Publish](refused=lambda _: None, returned=lambda _: None, deadline=10.0)
    channel.open(broker)
    channel.check_deadline(broker, 100.0)
    channel.waiting += publish(1), publish(2)
    channel.write(broker, 100.0, most=1)
    channel.write(broker, 105.0)
    channel.check_deadline(broker, 110.0)
    with pytest.raises(ConfirmLate):
        channel.check_deadline(broker, 111.0)
    # The other one was written later.
    fake.channels[0].confirm(1)
    channel.check_deadline(broker, 115.0)
    with pytest.raises(ConfirmLate):
        channel.check_deadline(broker, 116.0)

    fake.blocked = True
    channel.check_deadline(broker, 1000.0)
    fake.blocked = False
    channel.check_deadline(broker, 1010.0)
    with pytest.raises(ConfirmLate):
        channel.check_deadline(broker, 1011.0)
