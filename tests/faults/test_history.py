"""The provider's history as the only witness: down, late, and short of what the account has dropped. P6 in full."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from bridge.core.rules import ReconcileRules
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


def _settle(rig: Rig) -> tuple[Counter[str], list[str]]:
    """Wait for all outcomes and for quiet; return how many there are of each, and the message ids that they name."""
    told = rig.wait_told(within=90)
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
        outcomes, claimed = _settle(rig)
        accepted = [entry["message_id"] for entry in rig.provider.journal()]
        _note(rig, outcomes, expected=number)

        assert outcomes == {"sent": number}
        assert sorted(claimed) == sorted(accepted)
