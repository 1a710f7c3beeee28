"""Redeliveries of commands after a change of the configuration."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from bridge.app.admin import make_metrics
from bridge.domain.deliveries import TOKEN
from bridge.domain.ledger import ReadCommand
from bridge.domain.messages import Delivery
from bridge.ports import ChangeRefused
from bridge.settings import Settings
from tests.fakes.ledger import MemoryLedger
from tests.fakes.publisher import FakePublisher
from tests.harness.contract_check import event_of
from tests.harness.waiting import wait_until
from tests.unit.worker_setup import IdleSource, NoGateway, accepted, body_of, worker_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bridge.domain.ledger import Change
    from bridge.domain.submissions import Attempted, Submission

TWO = ["+16131234567", "+16131234568"]


class Counting(NoGateway):
    """A provider that accepts and counts all calls."""

    def __init__(self) -> None:
        self.sent = 0

    def send(self, submission: Submission, *, until: float) -> Attempted:
        """Accept."""
        self.sent += 1
        return accepted(f"m{self.sent}")


class PickyAboutLookups(MemoryLedger):
    """A ledger whose lookups fail."""

    def apply(self, changes: Sequence[Change]) -> list[object]:
        """Refuse them."""
        if any(isinstance(change, ReadCommand) for change in changes):
            raise ChangeRefused("broken")
        return super().apply(changes)


class RedeliveryModel:
    """A ledger and a provider that outlive the worker, whose configuration changes."""

    def __init__(self) -> None:
        self.ledger, self.gateway, self.metrics = MemoryLedger(), Counting(), make_metrics()

    @contextmanager
    def worker(self, **settings: object) -> Iterator[tuple[FakePublisher, IdleSource]]:
        """Let a worker process the deliveries of `deliver` until they are settled."""
        publisher, source = FakePublisher(), IdleSource()
        self._worker = worker_on(
            self.ledger,
            threading.Event(),
            publisher,
            self.gateway,
            metrics=self.metrics,
            settings=Settings.model_validate(settings),
        )
        self._worker.start(source)
        yield publisher, source
        assert self._worker.stop(grace=10)
        publisher.close()

    def deliver(self, delivery: Delivery, **settings: object) -> tuple[list[str], bool]:
        """Return the published events, and whether it was requeued."""
        with self.worker(**settings) as (publisher, source):
            self._worker.receive(delivery)
            wait_until(lambda: source.settled)
        events = [message.routing_key for message in publisher.taken if message.exchange]
        return events, bool(source.requeued)


def two(*, redelivered: bool = False, headers: Mapping[str, object] | None = None) -> Delivery:
    body = body_of("a", destination_address=TWO)
    return Delivery(body, tag=(1, 1), redelivered=redelivered, headers=headers or {})


SENT_TWICE = ["sms.outbound.sent", "sms.outbound.sent"]


def test_command_sent_under_laxer_rules_is_republished_as_sent_on_redelivery() -> None:
    model = RedeliveryModel()
    first = model.deliver(two())
    again = model.deliver(two(redelivered=True), commands={"max_destinations": 1})
    delayed = model.deliver(two(headers={TOKEN: "0"}), commands={"max_destinations": 1})

    assert first == again == delayed == (SENT_TWICE, False)
    assert model.gateway.sent == 2


@pytest.mark.parametrize("redelivered", [False, True])
def test_command_that_was_never_claimed_is_validated_by_the_current_rules(*, redelivered: bool) -> None:
    model = RedeliveryModel()

    stored_event = model.deliver(two(redelivered=redelivered), commands={"max_destinations": 1})

    assert stored_event == (["sms.outbound.invalid"], False)
    assert model.gateway.sent == 0


def test_invalid_command_with_the_id_of_another_is_invalid_on_every_delivery() -> None:
    model = RedeliveryModel()
    model.deliver(Delivery(body_of("a"), tag=(1, 1)))

    assert model.deliver(two(redelivered=True), commands={"max_destinations": 1}) == (
        ["sms.outbound.invalid"],
        False,
    )


@pytest.mark.parametrize("redelivered", [False, True])
def test_command_invalid_under_any_setting_is_invalid_on_every_delivery(*, redelivered: bool) -> None:
    model = RedeliveryModel()
    model.deliver(Delivery(body_of("a"), tag=(1, 1)))
    stored_event = model.deliver(
        Delivery(body_of("a", metadata="no object"), tag=(1, 2), redelivered=redelivered)
    )

    assert stored_event == (["sms.outbound.invalid"], False)
    assert model.gateway.sent == 1


def test_command_is_requeued_when_the_ledger_is_unavailable() -> None:
    model = RedeliveryModel()
    model.deliver(two())
    model.ledger = PickyAboutLookups()

    assert model.deliver(two(redelivered=True), commands={"max_destinations": 1}) == ([], True)


def test_stop_during_a_lookup_requeues_the_delivery() -> None:
    model = RedeliveryModel()
    model.deliver(two())
    with model.worker(commands={"max_destinations": 1}) as (publisher, source):
        model._worker.receive(two(redelivered=True))

    assert source.requeued or [event_of(message.body)["type"] for message in publisher.taken] == SENT_TWICE
    assert len(source.settled) == 1


def test_unknown_field_is_warned_of_once_or_refused() -> None:
    model = RedeliveryModel()
    mistyped = body_of("a", expiresat="2027-01-15T08:00:00Z")
    with capture_logs() as lines:
        taken = model.deliver(Delivery(mistyped, tag=(1, 1)))
        again = model.deliver(Delivery(mistyped, tag=(1, 2), redelivered=True))
        refused = model.deliver(
            Delivery(body_of("b", expiresat=None), tag=(1, 3)), commands={"unknown_fields": "reject"}
        )
        kept = model.deliver(
            Delivery(mistyped, tag=(1, 4), redelivered=True), commands={"unknown_fields": "reject"}
        )
    warned = [
        (line["command_id"], line["names"]) for line in lines if line["event"] == "command.unknown_fields"
    ]

    assert taken == again == kept == (["sms.outbound.sent"], False)
    assert refused == (["sms.outbound.invalid"], False)
    assert model.gateway.sent == 1
    assert warned == [("a", ["expiresat"]), ("b", ["expiresat"])]
    counted = model.metrics.registry.get_sample_value("sms_bridge_commands_with_unknown_fields_total")
    assert counted == len(warned)


def test_unreadable_properties_of_a_command_are_named_in_the_log() -> None:
    names = tuple(f"headers.{number}{'x' * 500}" for number in range(50))
    with capture_logs() as lines:
        done = RedeliveryModel().deliver(Delivery(body_of("a"), tag=(1, 1), unreadable=names))
    (line,) = [line for line in lines if line["event"] == "command.partly_unreadable"]

    assert done == (["sms.outbound.sent"], False)
    assert (line["command_id"], len(line["names"]), max(map(len, line["names"]))) == ("a", 10, 100)
