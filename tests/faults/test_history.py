"""The provider's history as the only witness: down, late, too late, and short of what was dropped: P5, P6 in full."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from bridge.domain.events import TERMINAL
from bridge.domain.rules import ReconcileRules
from tests.faults.report import PAPER
from tests.faults.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.conftest import MakeRig
    from tests.faults.rig import Rig

#: Messages that a trial account keeps.
TRIAL_CAP = ReconcileRules().history_cap

pytestmark = [pytest.mark.broker, pytest.mark.acceptance, pytest.mark.long]

#: All that are alike go to this number.
ALIKE = "+16135550001"
ELSEWHERE = "+16135550002"
#: What the provider took and what it did not take, none of which the bridge is told.
TAKEN = ("accept-drop", "accept-500", "accept-truncate")
LEFT = ("drop", "reset", "hang")
#: How what the provider takes may show too late.
LATE = ("accepted late", "shown late")
#: Seconds until it accepts a call, when the settle window is over; and until it shows anything at all.
TOO_LATE = 20.0
NEVER = 3600.0


def _send_alike(rig: Rig, number: int = 1) -> list[str]:
    """Send so many of one text to one number."""
    return rig.send(number, message="canary <alike>", destination_address=ALIKE)


def _in_doubt(rig: Rig, faults: Sequence[str]) -> list[str]:
    """Send one command for each fault, the next when the one before has met its own, and the history down."""
    rig.provider.settings(failing={"history": {"name": "status", "status": 500}})
    ids = []
    for name in faults:
        rig.provider.faults({"name": name, "text": "<alike>"})
        ids += _send_alike(rig)
        rig.wait(lambda: rig.provider.stats()["faults_waiting"] == 0, what=name)
    rig.wait(lambda: rig.rows("state = 'doubtful'") == len(faults), what="doubts")
    rig.fired["faulty answers"] = len(faults)
    rig.fired["history down"] = 1
    return ids


def _fill(rig: Rig, number: int, *, sender: str) -> None:
    """Have so many messages come in, which the account keeps in the place of older ones."""
    for _ in range(number):
        rig.provider.post("inbound", {"from": sender, "message": "hello"})
    rig.fired["messages after it"] = number


def _settle(rig: Rig, within: float = 90) -> tuple[Counter[str], list[str]]:
    """Wait for all outcomes and for quiet; return how many there are of each, and the message ids that they name."""
    told = rig.wait_told(within=within)
    rig.wait(rig.is_quiet, 40, "quiet")
    last = [rig.events_of(id_)[-1].json["data"]["message_id"] for id_ in rig.commands]
    return Counter(told.values()), [message_id for message_id in last if message_id is not None]


def _note(rig: Rig, outcomes: Counter[str], *, expected: int) -> None:
    """Note the row: by their texts nobody can tell these apart, so their messages are counted."""
    rig.note(Verdict(outcomes=outcomes, provider_duplicates=len(rig.provider.journal()) - expected))


@pytest.mark.parametrize("place", [ALIKE, ELSEWHERE], ids=["its own", "another"])
@pytest.mark.parametrize("kept", [0, 2])
def test_what_a_trial_account_may_have_dropped_is_unknown_and_never_sent_again(
    make_rig: MakeRig, kept: int, place: str, request: pytest.FixtureRequest
) -> None:
    name = f"P6, a trial account full of {request.node.callspec.id.partition('-')[2]} number's, {kept} kept"
    provider = {"history_cap": TRIAL_CAP, "lag": 0.7, "latency": 0.04}
    with make_rig(name, seed=126, provider=provider, RECONCILE__SKEW="1") as rig:
        rig.start()
        _send_alike(rig, 6)
        rig.wait_told()
        _in_doubt(rig, (*LEFT, *TAKEN))
        _fill(rig, TRIAL_CAP - kept, sender=place)
        rig.provider.settings(failing={})
        outcomes, claimed = _settle(rig)
        accepted = [entry["message_id"] for entry in rig.provider.journal()]
        _note(rig, outcomes, expected=6 + len(TAKEN))

        # What it still shows is claimed, by whomever; of the rest nobody can tell.
        assert outcomes == {"sent": 6 + kept, "unknown": len(LEFT) + len(TAKEN) - kept}
        assert len(accepted) == 6 + len(TAKEN)
        assert len(set(claimed)) == len(claimed) == 6 + kept
        assert set(claimed) <= set(accepted)
        assert rig.amqp.depth("sms.dead") == outcomes["unknown"]


def test_one_text_many_times_is_told_apart_by_number_however_late_the_history(make_rig: MakeRig) -> None:
    number, faults = 40, [*TAKEN, *LEFT] * 2
    with make_rig(
        "P6, one text to one number, 40 times, history 2 s late", seed=127, provider={"lag": 2.0}
    ) as rig:
        rig.start()
        rig.provider.faults(*({"name": name, "text": "<alike>"} for name in faults))
        _send_alike(rig, number)
        rig.wait(lambda: rig.provider.stats()["faults_waiting"] == 0, 30, "all faults")
        rig.fired["faulty answers"] = len(faults)
        # Of several alike that are looked up at once, some wait for the next lookup: 2 s later, then 4, 8 ... 64.
        outcomes, claimed = _settle(rig, within=240)
        accepted = [entry["message_id"] for entry in rig.provider.journal()]
        _note(rig, outcomes, expected=number)

        assert outcomes == {"sent": number}
        assert sorted(claimed) == sorted(accepted)


@pytest.mark.parametrize("late", LATE)
def test_what_shows_after_the_settle_window_is_parked_and_known_again_when_sent_back(
    make_rig: MakeRig, ledger: str | None, late: str
) -> None:
    with make_rig(f"P5, {late}, park", seed=105, ledger=ledger, RECONCILE__ON_ABSENT="park") as rig:
        ids = _too_late(rig, late)
        first = rig.wait_told()

        assert set(first.values()) == {"unknown"}
        letters = rig.letters()
        assert [letter.headers["x-bridge-outcome"] for letter in letters] == ["unknown"] * len(ids)
        for letter in letters:
            rig.put_letter(letter)
        _show_all(rig, len(ids))
        # Not even then is one sent again: it is looked up first.
        assert rig.operate("dead", "replay", "--all", "--resend", "--yes")[0] == 0
        rig.wait(lambda: set(rig.told().values()) == {"sent"}, what="what the history shows")
        rig.wait(rig.is_quiet, 40, "quiet")
        rig.note(_by_count(rig, len(ids)))

        assert rig.provider.stats()["sends"] == len(rig.provider.journal()) == len(ids)
        assert all(rig.events_of(id_)[-1].json["data"]["reconciled"] for id_ in ids)


@pytest.mark.parametrize("late", LATE)
def test_what_shows_after_the_settle_window_is_sent_twice_at_most_as_the_paper_says(
    make_rig: MakeRig, ledger: str | None, late: str
) -> None:
    name = f"P5, {late}, resend: two, as documented"
    with make_rig(name, seed=105, ledger=ledger, RECONCILE__ON_ABSENT="resend") as rig:
        ids = _too_late(rig, late)
        told = rig.wait_told()
        _show_all(rig, 2 * len(ids))
        rig.wait(rig.is_quiet, 40, "quiet")
        rig.note(_by_count(rig, len(ids)))

        # The price of the default: one more each, and still one outcome, which is true.
        assert set(told.values()) == {"sent"}
        assert Counter(rig.provider.texts()) == dict.fromkeys(rig.commands.values(), 2)
        outcomes = [[m for m in rig.events_of(id_) if m.routing_key in TERMINAL] for id_ in ids]
        assert [len(events) for events in outcomes] == [1] * len(ids)
        accepted = {entry["message_id"] for entry in rig.provider.journal()}
        assert {events[0].json["data"]["message_id"] for events in outcomes} <= accepted


def test_the_paper_says_what_a_late_history_may_cost() -> None:
    paper = " ".join(PAPER.read_text().split())

    assert "shows in its history only after `reconcile.settle` counts as absent" in paper
    assert '`reconcile.on_absent = "resend"`, the default, it is then sent again' in paper


def _too_late(rig: Rig, late: str) -> list[str]:
    """Send commands of which the provider takes the first calls, unseen until the settle window is over."""
    fault: dict[str, object] = {"name": "accept-drop"}
    if late == "shown late":
        rig.provider.settings(lag=NEVER)
    else:
        fault = {"name": "accept-late", "seconds": TOO_LATE}
    rig.start()
    ids = rig.send(5, fault=fault)
    rig.fired[late] = len(ids)
    return ids


def _show_all(rig: Rig, accepted: int) -> None:
    """Wait until the provider has taken so many, and have its history show them."""
    rig.wait(lambda: rig.accepted == accepted, 60, "late sends")
    rig.provider.settings(lag=0)


def _by_count(rig: Rig, expected: int) -> Verdict:
    outcomes = Counter(rig.told().values())
    return Verdict(outcomes=outcomes, provider_duplicates=len(rig.provider.journal()) - expected)
