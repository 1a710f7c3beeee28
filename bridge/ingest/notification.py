"""The order of a notification, from top to bottom: parse, look for a repeat, make durable, answer, remember.

This is the only place where that order stands. `NotificationFlow` has generators without I/O: they yield what is to be
done (`bridge.ingest.actions`) and are sent what came of it. The ingest's executor carries the actions out for webhooks,
and a backfill (`bridge.jobs.backfill`) for what it finds in the provider's history. The request's head was checked
before: a body that its head refuses is not read (`bridge.adapters.http.ingest_app`).

The order is the guarantee. A notification is answered with 2xx only once the broker or the spool has its event. It is
remembered only after that: a crash before costs a second event with the same id; remembered any sooner, the repeat
would be answered with 204 and lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.domain.errors import InvalidNotification
from bridge.domain.events import SUBSCRIPTION_CANCELLED
from bridge.domain.notification_events import evidence_of, receipt_of, to_event
from bridge.domain.notifications import parse_notification
from bridge.domain.receipts import RECEIPT_TYPES, receipt_event
from bridge.ingest.actions import (
    CheckSubscriptions,
    FindOwner,
    FindRepeat,
    MakeDurable,
    Owner,
    RecordEvidence,
    RejectBody,
    Remember,
    Respond,
    WaitForRecord,
)
from bridge.ports.http_results import NotificationResult

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bridge.domain.events import Event
    from bridge.domain.outcomes import EventFormat
    from bridge.ingest.actions import EventSteps, NotificationSteps

#: Seconds until the owner of a receipt is looked up again, and the share of the time left that this may take.
AGAIN = 1.0
SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationRules:
    """How notifications are read."""

    style: EventFormat
    #: The country of numbers that are written without one.
    default_region: str | None = None


# Not frozen: one is made for every webhook.
@dataclass(slots=True)
class NotificationFlow:
    """One notification on its way: it begins with an event that no webhook brought, or with none."""

    event: Event | None = None
    #: All ids that the event may be known by.
    ids: Sequence[str] = ()

    # --- the order -----------------------------------------------------------------------------------------------

    def receive(
        self, body: bytes, rules: NotificationRules, *, now: float, traceparent: str | None = None
    ) -> NotificationSteps:
        """Bring what a webhook posted from its body to its answer."""
        style = rules.style
        try:
            notification = parse_notification(body)
        except InvalidNotification as error:
            yield RejectBody(error)
            return
        evidence = evidence_of(notification, default_region=rules.default_region)
        if evidence is not None:
            yield RecordEvidence(evidence)
        event = self.event = to_event(
            notification,
            source=style.source,
            time=now,
            camel_case=style.camel_case,
            traceparent=traceparent,
        )
        if event.type == SUBSCRIPTION_CANCELLED:
            yield CheckSubscriptions(event.id)
        if event.type in RECEIPT_TYPES:
            yield from self._find_owner(event, style, now)
        yield from self.publish()

    def publish(self) -> EventSteps:
        """Make the event durable, unless it is one already."""
        event = self.event
        assert event is not None  # noqa: S101 - parsed above, or begun with
        ids = self.ids or (event.id,)
        found: Collection[str] | NotificationResult = yield FindRepeat(ids)
        if isinstance(found, NotificationResult):
            yield Respond(found)
        elif found:
            yield Respond(NotificationResult.REPEATED)
            # A repeat may be known by one of its ids and come by another the next time.
            unknown = [id_ for id_ in ids if id_ not in found]
            if unknown:
                yield Remember(unknown, event.also_noted)
        elif (yield MakeDurable(event)):
            yield Respond(NotificationResult.PUBLISHED)
            yield Remember(ids, event.also_noted)
        else:
            yield Respond(NotificationResult.REFUSED)

    # --- receipts ------------------------------------------------------------------------------------------------

    def _find_owner(self, event: Event, style: EventFormat, now: float) -> NotificationSteps:
        """Make a receipt that the provider posts by itself the event of the submission that it is about.

        A message that the ledger does not know was sent by another client of the account; its receipt stays as it is.
        If it were refused, the provider would repeat it for ever.
        """
        receipt = receipt_of(event)
        if receipt is None:
            return
        owner: Owner | None = yield FindOwner(receipt.message_id)
        if owner is not None and owner.sent is None:
            # The provider may be quicker than the worker, which records a submission a moment after it was taken.
            yield WaitForRecord(AGAIN, SHARE)
            owner = yield FindOwner(receipt.message_id)
        if owner is not None and owner.sent is not None:
            self.event = receipt_event(owner.sent, receipt.status, style=style, now=now)
            # It may have come, or come again, while the ledger did not know whose it is.
            self.ids = (self.event.id, event.id)
