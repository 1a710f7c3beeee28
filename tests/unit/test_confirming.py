"""A channel with confirms, on a broker that does what the test says."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from bridge.adapters.amqp.confirming import ConfirmedChannel
from bridge.domain.messages import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.encoding import Encoded

MESSAGE = Outgoing(exchange="sms.events", routing_key="sms.outbound.sent", body=b"{}", properties={})


@dataclass
class Publish:
    """A publish of the test."""

    name: str
    message: Outgoing = MESSAGE
    written_at: float = 0.0
    address: tuple[str, str] = ("", "")
    returned: bool = False


class Channel:
    """A channel of the fake broker."""

    def __init__(self) -> None:
        """Start without anybody to call."""
        self.events: dict[str, set[Callable[..., None]]] = defaultdict(set)

    def confirm_select(self) -> None:
        """Take note of nothing: all is confirmed or refused by the test."""

    def refuse(self, tag: int) -> None:
        """Answer for a publish with a nack."""
        for called in self.events["basic_nack"]:
            called(tag, False)


class FakeBroker:
    """Keeps what was written, with its channel."""

    def __init__(self) -> None:
        """Start with no channel."""
        self.channels: list[Channel] = []
        self.forgotten: list[Channel] = []
        self.written: list[Channel] = []

    def channel(self) -> Channel:
        """Open a channel."""
        self.channels.append(Channel())
        return self.channels[-1]

    def forget_channel(self, channel: Channel) -> None:
        """Close a channel."""
        self.forgotten.append(channel)

    def gather(self, channel: Channel, _message: Any, **_address: object) -> None:
        """Keep a publish."""
        self.written.append(channel)


def test_after_a_refusal_nothing_is_written_until_all_is_answered_and_then_on_another_channel() -> None:
    fake, refused = FakeBroker(), list[Publish]()
    broker, encoded = cast("Broker", fake), cast("Encoded", None)
    channel = ConfirmedChannel[Publish](lambda _: None, refused.append)
    channel.open(broker)
    for name in ("one", "two"):
        channel.gather(broker, Publish(name), encoded, 1.0)
    channel.waiting.append(Publish("three"))
    (first,) = fake.channels

    first.refuse(1)
    channel.renew_if_refused(broker)
    assert not channel.is_ready
    assert fake.forgotten == []

    first.refuse(2)
    channel.renew_if_refused(broker)
    assert channel.is_ready
    assert fake.forgotten == [first]
    channel.gather(broker, channel.waiting.popleft(), encoded, 2.0)
    assert fake.written == [first, first, fake.channels[1]]
    assert [publish.name for publish in refused] == ["one", "two"]


def test_a_channel_that_is_renewed_returns_what_was_under_way() -> None:
    fake = FakeBroker()
    broker, encoded = cast("Broker", fake), cast("Encoded", None)
    channel = ConfirmedChannel[Publish](lambda _: None, lambda _: None)
    channel.open(broker)
    for name in ("one", "two"):
        channel.gather(broker, Publish(name), encoded, 1.0)

    assert [publish.name for publish in channel.renew(broker)] == ["one", "two"]
    assert len(channel) == 0
    assert fake.forgotten == fake.channels[:1]
