"""Which of the publishes under way a confirm or a return means (docs/decisions.md: matched by us, not by kombu)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import amqp

    from bridge.domain.messages import Outgoing


class UnderWay(Protocol):
    """A publish that the broker has not answered for."""

    message: Outgoing
    #: The exchange and routing key it was written with.
    address: tuple[str, str]
    returned: bool


P = TypeVar("P", bound=UnderWay)


def take(unconfirmed: dict[int, P], tag: int, *, multiple: bool) -> list[P]:
    """Take out, and return, what the broker has answered for: one, or all up to one."""
    if not multiple:
        publish = unconfirmed.pop(tag, None)
        return [] if publish is None else [publish]
    # Tags grow, and a dict keeps their order.
    tags = []
    for number in unconfirmed:
        if number > tag:
            break
        tags.append(number)
    return [unconfirmed.pop(number) for number in tags]


def mark_returned(unconfirmed: dict[int, P], exchange: str, routing_key: str, returned: amqp.Message) -> bool:
    """Mark what came back unrouted, whose ack follows; returns whether it is one of these.

    Which one it is, AMQP does not say: the oldest with these bytes and this id, and any of several alike will do. A
    command may say what it is known by beside its body alone.
    """
    body, address, id_ = returned.body or b"", (exchange, routing_key), returned.properties.get("message_id")
    for publish in unconfirmed.values():
        message = publish.message
        # One that took more than AMQP has room for was left out.
        is_it = message.body == body and id_ in (None, message.properties.get("message_id"))
        if is_it and not publish.returned and publish.address == address:
            publish.returned = True
            return True
    return False
