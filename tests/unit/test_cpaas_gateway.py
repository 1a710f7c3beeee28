"""History lookups of the worker: the threads that are read, the evidence, and incomplete histories."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.clock import SystemClock
from bridge.adapters.cpaas.client import CpaasClient
from bridge.adapters.cpaas.gateway import CpaasGateway, _evidence
from bridge.adapters.cpaas.values import ProviderMessage
from bridge.domain.answers import Accepted, Ambiguous, Refused
from bridge.domain.evidence import Doubt, Window
from bridge.domain.match_keys import match_key, text_key
from bridge.domain.reconciliation import NotInHistory, Undetermined, judge_history, window_of
from bridge.domain.rules import ReconcileRules
from bridge.simulator import Simulator
from bridge.simulator.settings import SimulatorSettings
from tests.fakes.clock import HandClock
from tests.fakes.provider_server import answer
from tests.unit.cpaas_setup import ONCE, account, client_setup, submission
from tests.unit.simulated import NUMBER, OTHER, REMOTE, Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.domain.evidence import HistoryExtract
    from bridge.domain.reconciliation import LookupResult
    from bridge.domain.submissions import Submission
    from tests.fakes.provider_server import Act

NOW = 1_700_000_000.0
NEVER = 1e12


class GatewaySetup:
    """A simulator, a gateway to it, and a client that controls it."""

    def __init__(self, gateway: CpaasGateway, client: Client, clock: HandClock) -> None:
        self.gateway = gateway
        self.client = client
        self.clock = clock

    def look_up(self, of: Submission | None = None, window: Window | None = None) -> HistoryExtract:
        reading = self.gateway.look_up(of or ours(), window=window, until=NEVER)
        assert reading is not None
        return reading


def ours(sender: str = NUMBER, text: str = "hi") -> Submission:
    return submission(destination_address=REMOTE, sender_address=sender, message=text)


def ids(reading: HistoryExtract) -> list[str]:
    return [message.message_id for message in reading.messages]


@contextmanager
def provider(cap: int = 0, **settings: object) -> Iterator[GatewaySetup]:
    clock = HandClock(NOW)
    with (
        Simulator(SimulatorSettings.model_validate(settings), clock=clock) as simulator,
        Client(simulator.url) as client,
    ):
        calls = CpaasClient(account(simulator.url), SystemClock(), ONCE, threading.Event())
        yield GatewaySetup(CpaasGateway(calls, clock, cap), client, clock)
        calls.close()


@pytest.fixture
def it() -> Iterator[GatewaySetup]:
    with provider() as given:
        yield given


@pytest.mark.parametrize("sender", [NUMBER, "default"])
def test_history_has_sent_messages_with_all_identifying_fields(it: GatewaySetup, sender: str) -> None:
    sent = it.gateway.send(ours(sender, "h\u00e9"), until=NEVER)
    [found] = it.look_up(ours(sender)).messages

    assert isinstance(sent.answer, Accepted)
    assert found.message_id == sent.answer.message_id
    assert (found.sender_address, found.destination_address) == (NUMBER, REMOTE)
    assert (found.text_key, found.sent_at) == (text_key("h\u00e9"), NOW)
    assert found.status == "DeliveredToNetwork"


@pytest.mark.parametrize("units", ["s", "ms", "mixed"])
def test_times_are_seconds_for_each_unit_of_the_provider(units: str) -> None:
    with provider(units=units) as it:
        it.client.send("hi")
        [found] = it.look_up().messages

        assert found.sent_at == NOW


@pytest.mark.parametrize("sender", [NUMBER, "default"])
def test_pair_without_messages_has_a_complete_empty_history(it: GatewaySetup, sender: str) -> None:
    reading = it.look_up(ours(sender))

    assert (reading.messages, reading.complete, reading.oldest_at) == ((), True, None)
    assert reading.read_at == NOW


def test_own_number_reads_its_thread_and_default_reads_all_threads_of_the_destination(
    it: GatewaySetup,
) -> None:
    it.client.send("one", sender=NUMBER)
    it.client.send("two", sender=OTHER)
    it.client.send("elsewhere", to="+16131119999")

    assert [found.sender_address for found in it.look_up(ours(OTHER)).messages] == [OTHER]
    assert {found.sender_address for found in it.look_up(ours("default")).messages} == {NUMBER, OTHER}


@pytest.mark.parametrize("message_id", ["m" * 257, "m\0"])
def test_message_with_an_id_too_long_for_the_ledger_is_not_identifiable(message_id: str) -> None:
    message = ProviderMessage(
        message_id=message_id,
        direction="outbound",
        text="hi",
        status=None,
        remote_address=REMOTE,
        local_address=NUMBER,
        date_time=NOW,
        at=NOW,
    )

    assert _evidence(replace(message, message_id="m-1"), REMOTE) is not None
    assert _evidence(message, REMOTE) is None


def test_inbound_messages_are_no_evidence_but_show_how_far_back_the_history_goes(it: GatewaySetup) -> None:
    it.client.control("inbound", {"from": REMOTE, "to": NUMBER, "message": "hi"})
    it.clock.pass_by(60)
    it.client.send("hi")
    reading = it.look_up()

    assert len(reading.messages) == 1
    assert (reading.complete, reading.oldest_at) == (True, NOW)


def test_every_page_is_read() -> None:
    with provider(page_limit=2) as it:
        for number in range(7):
            it.client.send(f"text {number}")
        reading = it.look_up()

        assert len(set(ids(reading))) == 7
        assert reading.complete


def test_message_shows_once_the_provider_shows_it() -> None:
    with provider(lag=30.0) as it:
        it.client.send("hi")

        assert it.look_up().messages == ()
        it.clock.pass_by(31)
        assert len(it.look_up().messages) == 1


@pytest.mark.parametrize("fault", [{"name": "status", "status": 500}, {"name": "drop"}])
def test_unavailable_history_gives_no_result(it: GatewaySetup, fault: dict[str, object]) -> None:
    it.client.control("settings", {"failing": {"history": fault}})

    assert it.gateway.look_up(ours(), window=None, until=NEVER) is None
    assert it.gateway.probe(until=NEVER)
    it.client.control("settings", {"failing": {"history": fault, "subscriptions": fault}})
    assert not it.gateway.probe(until=NEVER)
    it.client.control("settings", {"failing": {}})
    assert it.look_up().complete


def test_lookup_past_its_deadline_gives_no_result(it: GatewaySetup) -> None:
    assert it.gateway.look_up(ours(), window=None, until=0.0) is None


def test_probe_sends_nothing(it: GatewaySetup) -> None:
    assert it.gateway.probe(until=NEVER)
    assert it.client.journal() == []


def test_send_returns_its_result(it: GatewaySetup) -> None:
    it.client.control("faults", [{"name": "accept-drop"}])

    assert isinstance(it.gateway.send(ours(), until=NEVER).answer, Ambiguous)
    assert isinstance(it.gateway.send(ours("+16135550000"), until=NEVER).answer, Refused)
    assert len(it.look_up().messages) == 1


# --- responses that the simulator does not give ----------------------------------------------------------------------


def shown(number: int = 1, **changes: object) -> dict[str, object]:
    given = {"type": "Outbound", "messageId": f"SM{number}", "message": "hi", "dateTime": int(NOW)}
    return given | changes


def looked(*pages: list[dict[str, object]]) -> HistoryExtract:
    """Return the reading of a thread with these pages."""
    with client_setup() as it:
        for number, messages in enumerate(pages, 1):
            more = {"next": str(number)} if number < len(pages) else {}
            it.server.acts.append(answer(200, {"smsMessageList": {"smsMessage": messages, **more}}))
        reading = CpaasGateway(it.client, HandClock(NOW)).look_up(ours(), window=None, until=NEVER)
    assert reading is not None
    return reading


def listing(*threads: object, **more: object) -> Act:
    """Return an answer with a page of threads."""
    return answer(200, {"smsThreadList": {"smsThread": list(threads), **more}})


def thread(local: str = NUMBER, **details: object) -> dict[str, object]:
    given = {"lastMessageTime": int(NOW * 1000), "length": 1} | details
    return {"remoteAddress": REMOTE, "localAddress": local, "threadDetails": given}


NO_MESSAGES = answer(200, {"smsMessageList": {"smsMessage": []}})


@pytest.mark.parametrize(
    "pages",
    [
        [listing(thread(), next="a"), listing(thread(OTHER), next="a")],
        [listing(*[thread() for _ in range(200)])],
        [listing(thread(), {"localAddress": OTHER})],
        [listing(thread(), "no object")],
        [listing(thread(), next="a"), answer(404)],
        [listing(thread(), next="a"), listing(thread(OTHER))],
    ],
    ids=[
        "a pointer comes again",
        "full without a pointer",
        "a thread without a number",
        "no thread",
        "gone in the middle",
        "two pages, between which a thread may move",
    ],
)
def test_history_for_default_is_incomplete_when_a_thread_of_the_destination_may_be_missing(
    pages: list[Act],
) -> None:
    with client_setup() as it:
        it.server.acts.extend([*pages, *[answer(200, {"smsMessageList": {"smsMessage": [shown()]}})] * 2])
        reading = CpaasGateway(it.client, HandClock(NOW)).look_up(ours("default"), window=None, until=NEVER)

    assert reading is not None
    assert not reading.complete
    assert set(ids(reading)) == {"SM1"}, "the listed messages are found"


def test_thread_that_is_listed_twice_is_read_once() -> None:
    with client_setup() as it:
        it.server.acts.extend([listing(thread(), thread()), NO_MESSAGES])
        reading = CpaasGateway(it.client, HandClock(NOW)).look_up(ours("default"), window=None, until=NEVER)

        assert reading is not None
        assert reading.complete
        assert len(it.server.requests) == 2


# --- the account's number of messages --------------------------------------------------------------------------------

#: Of an attempt at `NOW` that ended long ago.
WINDOW = Window(start=NOW - 120, settled_at=NOW)


def looked_at_account(
    *pages: Act, messages: Act = NO_MESSAGES, cap: int = 0
) -> tuple[HistoryExtract | None, int]:
    """Look up with these pages of the list of threads; return the history and its calls."""
    with client_setup() as it:
        it.server.acts.extend([messages, *pages])
        reading = CpaasGateway(it.client, HandClock(NOW), cap).look_up(ours(), window=WINDOW, until=NEVER)
        return reading, len(it.server.requests)


def test_messages_of_the_account_are_counted_when_a_thread_alone_is_not_conclusive(it: GatewaySetup) -> None:
    it.client.send("one", to="+16131119999")
    it.client.send("two", to="+16131119999")
    it.client.send("three", sender=OTHER)
    reading = it.look_up(window=WINDOW)

    assert (reading.messages, reading.total, reading.complete) == ((), 3, True)


def test_account_without_messages_has_an_empty_history(it: GatewaySetup) -> None:
    assert it.look_up(window=WINDOW).total == 0


def lookup_result(it: GatewaySetup, cap: int, sender: str = NUMBER) -> LookupResult:
    """Look up an attempt that began and ended at `NOW`, and return the result a minute later."""
    rules = ReconcileRules(history_cap=cap)
    it.clock.pass_by(61)
    doubt = Doubt(
        key=match_key(REMOTE, "hi"),
        text="hi",
        destination_address=REMOTE,
        sender_address=NUMBER,
        since=NOW,
        until=NOW,
        give_up_at=NEVER,
        now=it.clock.now(),
    )
    return judge_history(
        doubt,
        it.look_up(ours(sender), window=window_of(NOW, NOW, rules)),
        (),
        is_taken=lambda _: False,
        others=(),
        rules=rules,
    )


def test_message_that_a_full_account_has_lost_does_not_count_as_never_sent() -> None:
    with provider(history_cap=3) as it:
        it.client.send("hi")
        for number in range(3):
            it.client.send("other", to=f"+1613111000{number}")

        assert isinstance(lookup_result(it, cap=3), Undetermined)


def test_first_message_to_a_number_is_certainly_unsent_on_an_account_below_its_cap(
    it: GatewaySetup,
) -> None:
    for number in range(3):
        it.client.send("other", to=f"+1613111000{number}")

    assert lookup_result(it, cap=1000) == NotInHistory()


@pytest.mark.parametrize("sender", [NUMBER, "default"])
def test_capped_account_with_many_threads_is_listed_in_one_page(sender: str) -> None:
    with provider(cap=1000) as it:
        for number in range(250):
            it.client.send("other", to=f"+1613111{number:04}")

        assert lookup_result(it, cap=1000, sender=sender) == NotInHistory()


def test_page_cut_off_at_a_round_number_is_not_the_complete_list() -> None:
    cut_off, whole = (
        looked_at_account(listing(*[thread() for _ in range(number)]), cap=1000)[0] for number in (400, 401)
    )

    assert cut_off is not None
    assert whole is not None
    assert (cut_off.total, whole.total) == (None, 401)


@pytest.mark.parametrize(("cap", "asked"), [(0, 200), (100, 200), (1_000, 501), (5_000, 1_000)])
def test_page_of_threads_is_as_large_as_needed_and_permitted(cap: int, asked: int) -> None:
    with client_setup() as it:
        it.server.acts.extend([NO_MESSAGES, listing()])
        CpaasGateway(it.client, HandClock(NOW), cap).look_up(ours(), window=WINDOW, until=NEVER)

        assert f"max={asked}" in it.server.requests[-1].path


def test_full_account_with_an_older_message_has_all_recent_messages() -> None:
    with provider(history_cap=3) as it:
        for number in range(3):
            it.client.send("other", to=f"+1613111000{number}")
        it.clock.pass_by(600)
        since = it.clock.now()
        rules = ReconcileRules(history_cap=3)
        reading = it.look_up(window=window_of(since, since - rules.settle, rules))

        assert reading.total == 3
        assert reading.oldest_at == NOW


def test_thread_that_ended_before_the_attempt_shows_how_far_back_the_account_goes() -> None:
    is_idle = thread(OTHER, lastMessageTime=int((NOW - 121) * 1000))
    reading, calls = looked_at_account(
        listing(thread(length=1000), is_idle, next="p"), listing(thread(OTHER))
    )

    assert reading is not None
    assert (reading.total, reading.oldest_at) == (None, NOW - 121)
    assert calls == 2, "sufficient: no further page is read"


@pytest.mark.parametrize("details", [{"length": 0}, {"length": None}, {"lastMessageTime": 0}])
def test_thread_that_may_be_empty_or_of_any_age_shows_nothing(details: dict[str, object]) -> None:
    details = {"lastMessageTime": 1, "length": 1} | details
    reading, _ = looked_at_account(
        listing({"remoteAddress": REMOTE, "localAddress": OTHER, "threadDetails": details})
    )

    assert reading is not None
    assert reading.oldest_at is None


@pytest.mark.parametrize(
    ("pages", "messages"),
    [
        ([listing(thread(), thread(OTHER, length=None))], NO_MESSAGES),
        ([listing(thread(), thread(OTHER, length=True))], NO_MESSAGES),
        ([listing(thread(), thread(OTHER, length=-1))], NO_MESSAGES),
        ([listing(thread(), {"odd": 1})], NO_MESSAGES),
        ([listing(thread(), next="a"), listing(thread(OTHER))], NO_MESSAGES),
        ([listing()], answer(200, {"smsMessageList": {"smsMessage": [shown()]}})),
    ],
    ids=[
        "no length",
        "no number",
        "less than none",
        "no thread",
        "two pages",
        "a list without what was read",
    ],
)
def test_threads_without_a_certain_count_are_not_counted(pages: list[Act], messages: Act) -> None:
    reading, _ = looked_at_account(*pages, messages=messages)

    assert reading is not None
    assert (reading.total, reading.complete) == (None, True)


def test_unreadable_account_gives_no_information() -> None:
    reading, _ = looked_at_account(answer(500))

    assert reading is None


#: Responses with 404 from gateways on the way, and from the provider.
NOT_FOUND = [
    b"",
    {"message": "no Route matched with those values"},
    {"error": "Not Found", "status": 404},
    {"requestError": {"serviceException": {"messageId": "SVC0004", "text": "none"}}},
]


@pytest.mark.parametrize("window", [None, WINDOW])
@pytest.mark.parametrize("sender", [NUMBER, "default"])
@pytest.mark.parametrize("body", NOT_FOUND)
@pytest.mark.parametrize(
    ("listed", "is_believed"),
    [
        (listing(), True),
        (listing(thread(), thread(OTHER)), False),
        (answer(404), False),
        (answer(404, NOT_FOUND[3]), False),
        (answer(500), False),
    ],
    ids=["not in the list", "in the list", "no list", "no such list", "the list is not to be had"],
)
def test_missing_pair_is_accepted_when_the_list_of_all_threads_confirms_it(
    listed: Act, is_believed: bool, body: object, sender: str, window: Window | None
) -> None:
    with client_setup() as it:
        it.server.acts.extend([answer(404, body), listed])
        reading = CpaasGateway(it.client, HandClock(NOW)).look_up(ours(sender), window=window, until=NEVER)

    assert (reading is not None) == is_believed
    if reading is not None:
        assert (reading.messages, reading.complete) == ((), True)


@pytest.mark.parametrize("body", NOT_FOUND)
def test_lookup_is_void_when_one_of_several_listed_threads_is_not_found(
    body: object,
) -> None:
    old = answer(200, {"smsMessageList": {"smsMessage": [shown(2, dateTime=int(NOW - 1000))]}})
    both = listing(thread(length=5), thread(OTHER))
    with client_setup() as it:
        it.server.acts.extend([both, answer(404, body), old, both])
        reading = CpaasGateway(it.client, HandClock(NOW)).look_up(ours("default"), window=WINDOW, until=NEVER)

    assert reading is None


@pytest.mark.parametrize(("body", "is_believed"), [(NOT_FOUND[1], False), (NOT_FOUND[3], True)])
@pytest.mark.parametrize("window", [None, WINDOW])
def test_not_found_response_of_a_gateway_needs_confirmation_by_the_whole_list(
    body: object, window: Window | None, *, is_believed: bool
) -> None:
    # Its first page shows already how far back the account goes.
    is_idle = listing(thread(OTHER, lastMessageTime=int((NOW - 1000) * 1000)), next="a")
    with client_setup() as it:
        it.server.acts.extend([answer(404, body), is_idle, answer(404)])
        reading = CpaasGateway(it.client, HandClock(NOW)).look_up(ours(), window=window, until=NEVER)

    assert (reading is not None) == is_believed


@pytest.mark.parametrize(
    "entry",
    [
        {**thread(length=1), "remoteAddress": f"tel:{REMOTE}", "localAddress": f"tel:{NUMBER}"},
        {"remoteAddress": REMOTE},
    ],
    ids=["written otherwise", "one that can't be read"],
)
@pytest.mark.parametrize("body", NOT_FOUND)
@pytest.mark.parametrize("window", [None, WINDOW])
def test_list_that_may_name_the_pair_confirms_nothing(
    entry: dict[str, object], body: object, window: Window | None
) -> None:
    with client_setup() as it:
        it.server.acts.extend([answer(404, body), listing(entry)])
        reading = CpaasGateway(it.client, HandClock(NOW)).look_up(ours(), window=window, until=NEVER)

    assert reading is None


def test_missing_message_within_the_settle_window_costs_no_call() -> None:
    early = Window(start=NOW - 120, settled_at=NOW + 1)
    with client_setup() as it:
        it.server.acts.append(answer(404))
        reading = CpaasGateway(it.client, HandClock(NOW)).look_up(ours(), window=early, until=NEVER)

        assert reading is not None
        assert len(it.server.requests) == 1


def test_thread_that_is_listed_empty_and_not_found_is_empty() -> None:
    reading, _ = looked_at_account(listing(thread(length=0)), messages=answer(404))

    assert reading is not None
    assert (reading.messages, reading.complete, reading.total) == ((), True, 0)


@pytest.mark.parametrize(
    ("window", "messages"),
    [
        (None, [shown()]),
        (Window(start=NOW - 120, settled_at=NOW + 1), []),
        (WINDOW, [shown(2, dateTime=int(NOW - 121))]),
        (WINDOW, [shown(2, message=None)]),
    ],
    ids=["the provider keeps all", "too early to tell", "an older message in the thread", "no whole thread"],
)
def test_account_is_not_read_if_it_cannot_change_the_result(
    window: Window | None, messages: list[object]
) -> None:
    with client_setup() as it:
        it.server.acts.append(answer(200, {"smsMessageList": {"smsMessage": messages}}))
        reading = CpaasGateway(it.client, HandClock(NOW)).look_up(ours(), window=window, until=NEVER)

        assert reading is not None
        assert len(it.server.requests) == 1


@pytest.mark.parametrize(
    "unreadable",
    [
        shown(2, message=None),
        shown(2, dateTime=None),
        shown(2, dateTime="yesterday"),
        shown(2, type=None),
        shown(2, type="Sideways"),
        shown(2, messageId=None),
        shown(2, messageId="SM\0"),
        shown(2, messageId="SM\ud800"),
    ],
)
def test_unreadable_candidate_makes_the_history_incomplete(
    unreadable: dict[str, object],
) -> None:
    reading = looked([shown(1), unreadable])

    assert ids(reading) == ["SM1"]
    assert not reading.complete


@pytest.mark.parametrize("direction", ["Outbound", "outbound", "OUTBOUND"])
def test_direction_is_recognized_in_any_spelling(direction: str) -> None:
    assert ids(looked([shown(1, type=direction)])) == ["SM1"]


@pytest.mark.parametrize("at", [0, 170_000_000])
def test_time_without_a_message_does_not_show_how_far_back_the_history_goes(at: int) -> None:
    reading = looked([shown(dateTime=at), shown(2)])

    assert not reading.complete
    assert reading.oldest_at is not None
    assert reading.oldest_at > 1_262_304_000
