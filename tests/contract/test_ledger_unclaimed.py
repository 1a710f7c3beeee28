"""The ledger's knowledge of other submissions to a number, and of observed messages to it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, select, text

from bridge.adapters.store.tables import MAY_HAVE_A_MESSAGE, submissions
from bridge.domain.evidence import Evidence, HistoryExtract
from bridge.domain.ledger import Lookup, ObservedMessage, Resolve, SubmissionRecord
from bridge.domain.ledger.records import changed
from bridge.domain.ledger.unit_of_work import ReadSet
from bridge.domain.match_keys import text_key
from bridge.domain.outcomes import Outcome
from tests.contract.test_ledger import LEDGERS, RULES, STYLE, OpenLedger, claim, command, record, recorded
from tests.harness.commands import NOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.domain.commands import SendSms
    from bridge.domain.ledger.endings import RecordedResult
    from bridge.domain.ledger.unit_of_work import UnitOfWork
    from bridge.ports import Ledger

TO = "+16131234567"
#: More than a minute after the attempts.
SETTLED = NOW + 61


@pytest.fixture(params=list(LEDGERS.values()), ids=list(LEDGERS))
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    opener: OpenLedger = request.param(request)
    with closing(opener()) as opened:
        yield opened


def sms(id_: str, text: str) -> SendSms:
    return replace(command(id_), message=text)


def shown(message_id: str, text: str, *, to: str = TO) -> Evidence:
    return Evidence(
        message_id=message_id,
        sender_address=None,
        destination_address=to,
        text_key=text_key(text),
        sent_at=NOW,
        text=text,
    )


def in_doubt(ledger: Ledger, *commands: SendSms) -> None:
    ledger.apply([claim(of=one) for one in commands])
    ledger.apply([record(of=one, retry_at=NOW, in_doubt=True) for one in commands])


def looked(ledger: Ledger, of: SendSms, *messages: Evidence, at: float = SETTLED) -> RecordedResult:
    """Claim a submission for a lookup that finds these messages, and record its result."""
    [lookup] = ledger.apply([claim(of=of, owner=f"lookup at {at}", now=at)])
    assert isinstance(lookup, Lookup)
    assert of.id is not None
    resolve = Resolve(
        command=of,
        command_id=of.id,
        index=0,
        owner=f"lookup at {at}",
        reading=HistoryExtract(messages=messages, total=len(messages), read_at=at),
        since=lookup.since,
        now=at,
        style=STYLE,
        rules=RULES,
    )
    return recorded(ledger.apply([resolve])[0])


def test_message_of_another_submission_in_doubt_does_not_prevent_a_resend(ledger: Ledger) -> None:
    one, two = sms("order-1", "one"), sms("order-2", "two")
    in_doubt(ledger, one, two)

    assert looked(ledger, one, shown("m-2", "two")).lookup_result == "not_found"
    assert looked(ledger, two, shown("m-2", "two")).outcome is Outcome.SENT


def test_message_without_a_submission_makes_all_candidates_unknown(ledger: Ledger) -> None:
    one, two = sms("order-1", "one"), sms("order-2", "two")
    in_doubt(ledger, one, two)
    strange = shown("m-9", "[hidden]")

    assert looked(ledger, one, strange).lookup_result == "again"
    assert looked(ledger, two, strange, at=SETTLED + 1).outcome is Outcome.UNKNOWN
    assert looked(ledger, one, strange, at=SETTLED + 10).outcome is Outcome.UNKNOWN


def test_message_owned_by_another_submission_does_not_prevent_a_resend_with_any_text(ledger: Ledger) -> None:
    one, two = sms("order-1", "one"), sms("order-2", "two")
    in_doubt(ledger, one)
    ledger.apply([claim(of=two)])
    ledger.apply([record(of=two, message_id="m-2")])

    assert looked(ledger, one, shown("m-2", "[hidden]")).lookup_result == "not_found"


def test_unknown_submission_still_explains_a_message_with_its_text(ledger: Ledger) -> None:
    one, two = sms("order-1", "one"), sms("order-2", "two")
    in_doubt(ledger, one, two)
    strange = shown("m-8", "[hidden]")
    assert looked(ledger, one, strange).lookup_result == "again"
    assert looked(ledger, two, strange, at=SETTLED + 1).outcome is Outcome.UNKNOWN

    assert looked(ledger, one, shown("m-2", "two"), at=SETTLED + 10).lookup_result == "not_found"


def test_lookup_waits_for_a_running_call_to_the_same_number(ledger: Ledger) -> None:
    one, two = sms("order-1", "one"), sms("order-2", "two")
    in_doubt(ledger, one)
    ledger.apply([claim(of=two)])

    assert looked(ledger, one, shown("m-9", "[hidden]")).lookup_result == "again"
    ledger.apply([record(of=two, message_id="m-9")])
    assert looked(ledger, one, shown("m-9", "[hidden]"), at=SETTLED + 100).lookup_result == "not_found"


def test_notification_with_any_text_to_the_number_prevents_a_resend(ledger: Ledger) -> None:
    one, two = sms("order-1", "one"), sms("order-2", "two")
    in_doubt(ledger, one)
    stored_event = [
        shown("m-1", "one", to="+16131230000"),
        replace(shown("m-2", "[hidden]"), sent_at=NOW - 100_000),
    ]
    ledger.apply([ObservedMessage(evidence=replace(evidence, text=None)) for evidence in stored_event])
    assert looked(ledger, one).lookup_result == "not_found"

    in_doubt(ledger, two)
    ledger.apply([ObservedMessage(evidence=replace(shown("m-3", "[hidden]"), text=None))])
    assert looked(ledger, two).outcome is Outcome.UNKNOWN


def test_notification_with_an_altered_text_is_found(ledger: Ledger) -> None:
    one = sms("order-1", "Price: 5\u00a0EUR")
    in_doubt(ledger, one)
    ledger.apply([ObservedMessage(evidence=replace(shown("m-1", "Price: 5 EUR"), text=None))])

    assert looked(ledger, one, at=NOW + 2).outcome is Outcome.SENT


class Rekeyed:
    """A change that gives a submission a match key of the layout before 0006."""

    def __init__(self, of: SendSms) -> None:
        assert of.id is not None
        self._id = of.id
        self.read_set = ReadSet(command_id=of.id, index=0)

    def apply(self, unit: UnitOfWork) -> None:
        record = unit.commands[self._id]
        [submission] = record.submissions.values()
        unit.commands[self._id] = record.having(changed(submission, match_key=b"k" * 32), now=NOW)


def test_absence_proves_nothing_for_a_key_of_an_older_ledger(ledger: Ledger) -> None:
    one, two = sms("order-1", "one"), sms("order-2", "two")
    in_doubt(ledger, one, two)
    ledger.apply([Rekeyed(one), Rekeyed(two)])

    assert looked(ledger, one, at=NOW + 2).lookup_result == "again"
    assert looked(ledger, one, shown("m-1", "one"), at=SETTLED).outcome is Outcome.SENT
    absent = looked(ledger, two)
    assert absent.outcome is Outcome.UNKNOWN
    assert absent.stored_event is not None
    assert "older version" in absent.stored_event.body.decode()


def test_tables_and_records_agree_on_which_submissions_may_have_a_message() -> None:
    engine = create_engine("sqlite://")
    states = ["waiting", "attempting", "in_doubt", *(outcome.value for outcome in Outcome)]
    records = [
        SubmissionRecord(index=index, state=state, message_id=message_id)
        for index, (state, message_id) in enumerate((s, m) for s in states for m in (None, "m-1"))
    ]
    with engine.begin() as connection:
        submissions.create(connection)
        for record in records:
            connection.execute(
                submissions.insert().values(
                    command_id="order-1",
                    position=record.index,
                    state=record.state,
                    message_id=record.message_id,
                    **dict.fromkeys(("attempts", "reserved", "crashes", "replay"), 0),
                    submitted=False,
                    may_resend=True,
                )
            )
        condition = select(submissions.c.position).where(text(MAY_HAVE_A_MESSAGE))
        found = set(connection.execute(condition).scalars())
    engine.dispose()

    assert found == {record.index for record in records if record.may_have_a_message}
