"""Settings that processes and commands receive."""

from __future__ import annotations

from bridge.app import parts
from bridge.settings import Settings

URLS = [f"amqp://rabbit{number}/" for number in range(3)]


def test_processes_start_with_a_random_broker_and_continue_in_order() -> None:
    settings = Settings.model_validate({"broker": {"url": URLS}})
    orders = {tuple(node.host for node in parts.address_of_process(settings).nodes) for _ in range(200)}

    assert orders == {
        ("rabbit0", "rabbit1", "rabbit2"), ("rabbit1", "rabbit2", "rabbit0"), ("rabbit2", "rabbit0", "rabbit1"),
    }  # fmt: skip
    assert [node.host for node in parts.broker_address(settings).nodes] == ["rabbit0", "rabbit1", "rabbit2"]
