"""Delayed copies, commands partly sent and dead letters sent back, with kills between any two steps."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.faults.replays import Sms, SubmissionId, judge_replays
from tests.faults.stack import IN_FLIGHT, PROVIDER

if TYPE_CHECKING:
    from tests.faults.conftest import MakeScenario
    from tests.faults.scenario import Scenario
    from tests.faults.verdict import Verdict
    from tests.harness.broker_client import Message

Fault: TypeAlias = dict[str, object]

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

REFUSED: Fault = {
    "name": "status",
    "status": 400,
    "body": {"requestError": {"serviceException": {"messageId": "SVC0002"}}},
}
#: A place to die that chance chooses, with work in flight.
ANYWHERE = "anywhere"
#: Between any two steps of a command, of a history lookup and of a rescheduling, and within them.
EVERYWHERE = (
    "claiming", "claimed:kill9:3", ANYWHERE, "answered:kill9:2", "recorded:kill9:4", ANYWHERE, "version-begun",
    "looked-up:kill9:2", "published:kill9:3", ANYWHERE,
)  # fmt: skip
#: Seconds, scaled down further than elsewhere. A message that the history lacks is unknown, not sent again, and
#: one that was refused for so long has failed.
QUICKER = {
    "CPAAS__READ_TIMEOUT": "0.6", "CPAAS__TOTAL_TIMEOUT": "1", "WORKER__LEASE": "2", "RECONCILE__SETTLE": "1.5",
    "RECONCILE__ON_ABSENT": "park", "RETRY__MAX_AGE": "4",
}  # fmt: skip
#: A provider that takes its time, so that there is work in flight to be killed with.
SLOW = {"latency": 0.2}
#: Seconds until the history shows anything: more than the run takes.
NEVER = 3600.0
#: In how many rounds of sending back all must be sent.
MOST_ITERATIONS = 8


def _busy(status: int, seconds: int) -> Fault:
    return {"name": "status", "status": status, "retry_after": seconds}


#: The provider's faults for each of a command's calls in turn, and further fields of the command.
KINDS: tuple[tuple[Fault, ...], ...] = (
    # Through the delay several times, by one level of it and by two.
    (_busy(429, 1), _busy(503, 1), _busy(429, 2)),
    (_busy(503, 2), {"name": "status", "status": 503}, _busy(429, 1)),
    # Accepted or not, without a response: unknown, since the history does not show it yet.
    ({"name": "accept-drop"},),
    ({"name": "drop"},),
    (_busy(429, 1), {"name": "accept-500"}),
    ({"name": "status", "status": 500}, {"name": "accept-truncate"}),
    # Rejected, and rejected again once sent back.
    (REFUSED,),
    (REFUSED, REFUSED),
    # Refused for so long that it fails.
    (_busy(503, 1),) * 6,
    (),
)
FEW = (KINDS[0][:2], KINDS[2], KINDS[3], KINDS[6], KINDS[8][:3])
#: Each third command is held until later, each fourth goes to so many numbers, each second is published twice.
HELD_FOR = 2.0
NUMBERS = 3


def test_command_returns_from_the_delay_queues_after_any_number_of_passes(
    make_scenario: MakeScenario,
) -> None:
    # RabbitMQ drops a copy that says it has been in a queue of the delay before, though it has confirmed it.
    with make_scenario("Delay, 1 s, then 3 s, then 3 s", seed=701) as scenario:
        scenario.start()
        (command_id,) = scenario.send()
        scenario.wait_confirmed()
        (again,) = scenario.send(fault=_busy(429, 1))
        scenario.provider.faults(*({**_busy(429, 3), "text": scenario.commands[again]} for _ in range(2)))
        scenario.fired["429"] = 3
        verdict = scenario.kept(within=20)

        assert verdict.outcomes == {"sent": 2}
        assert [m.json["type"].rpartition(".")[2] for m in scenario.events_of(command_id)] == ["sent"]
        deferred = ["deferred"] * 3
        assert [m.json["type"].rpartition(".")[2] for m in scenario.events_of(again)] == [*deferred, "sent"]
        assert scenario.provider.stats()["sends"] == 5


@pytest.mark.long
def test_only_unfinished_submissions_are_resumed_when_a_worker_dies_midway(
    make_scenario: MakeScenario, ledger: str | None
) -> None:
    name = "W1, 20 numbers, killed half-way, 3 times"
    with make_scenario(name, seed=702, ledger=ledger, WORKER__CONCURRENCY="4") as scenario:
        wanted: dict[SubmissionId, Sms] = {}
        scenario.start(failpoint="recorded:kill9:6")
        scenario.amqp.publish(_command(scenario, wanted, numbers=20))
        scenario.died()
        before = scenario.replays()
        recorded = {place: row for place, row in before.items() if row.state == "sent"}

        assert 0 < len(recorded) < 20
        assert scenario.rows(IN_FLIGHT) > 0
        for failpoint in ("claimed:kill9:4", "answered:kill9:2"):
            scenario.start(failpoint=failpoint, ready=False)
            scenario.died()
        scenario.start()
        verdict = _so_far(scenario, wanted)
        scenario.note(verdict)

        assert verdict.outcomes == {"sent": 20}
        # One call each: no recorded submission and none in doubt was called again.
        assert scenario.provider.stats()["sends"] == 20
        assert {place: scenario.replays()[place] for place in recorded} == recorded


def test_dead_letter_of_an_earlier_replay_does_not_reopen_a_submission(
    make_scenario: MakeScenario, ledger: str | None
) -> None:
    # A refused command has failed at once.
    settings = {**QUICKER, "RETRY__MAX_AGE": "0"}
    with make_scenario("Dead letters of earlier lives", seed=703, ledger=ledger, **settings) as scenario:
        wanted: dict[SubmissionId, Sms] = {}
        scenario.start()
        twice: list[tuple[Fault, ...]] = [
            (REFUSED, REFUSED),
            (_busy(503, 1), _busy(503, 1)),
            ({"name": "drop"},),
        ]
        scenario.publish(_command(scenario, wanted, *faults) for faults in twice)
        _so_far(scenario, wanted)
        first = scenario.letters()
        _replay(scenario, first)
        second = scenario.letters()
        before, calls = scenario.replays(), scenario.provider.stats()["sends"]
        _replay(scenario, [*first, *first], "--resend")
        scenario.fired["letters of earlier lives"] = 2 * len(first)

        assert [row.replay_number for row in before.values()] == [1] * len(wanted)
        assert {row.state for row in before.values()} == {"rejected", "failed", "unknown"}
        assert (scenario.replays(), scenario.provider.stats()["sends"]) == (before, calls)
        _replay(scenario, second, "--resend")
        verdict = _so_far(scenario, wanted)
        scenario.note(verdict)

        assert verdict.outcomes == {"sent": len(wanted)}
        assert [row.replay_number for row in scenario.replays().values()] == [2] * len(wanted)


def _replay(scenario: Scenario, letters: list[Message], *options: str) -> None:
    """Send these back and no others, and wait until nothing more follows."""
    for letter in letters:
        scenario.put_letter(letter)
    code, _ = scenario.operate("dead", "replay", "--all", "--yes", *options)

    assert code == 0
    scenario.wait(scenario.is_idle, 60, "idle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How much of everything, and who dies where."""

    commands: int
    seed: int
    #: Where workers die while the commands come, and while dead letters are sent back; each is replaced by the next.
    early: tuple[str, ...]
    late: tuple[str, ...]
    kinds: tuple[tuple[Fault, ...], ...]
    #: Rounds of sending back before `--resend` is given.
    careful: int
    #: Ways to end badly that must be among them; of a few commands, how long each call takes decides on some.
    ways: int = 3


def test_no_submission_is_sent_twice_or_lost_through_delays_replays_and_kills(
    make_scenario: MakeScenario,
) -> None:
    mix = Mix(
        commands=10,
        seed=89,
        early=("recorded:kill9:4",),
        late=("answered:kill9:2",),
        kinds=FEW,
        careful=0,
        ways=2,
    )
    with make_scenario(
        "Delays, replays and kills, small", seed=mix.seed, provider=SLOW, **QUICKER | {"RETRY__MAX_AGE": "2"}
    ) as scenario:
        _live(scenario, mix)


@pytest.mark.long
def test_no_submission_is_sent_twice_or_lost_when_any_process_crashes_anywhere(
    make_scenario: MakeScenario, ledger: str | None
) -> None:
    seed = 711 if ledger is None else 712
    mix = Mix(commands=120, seed=seed, early=EVERYWHERE, late=EVERYWHERE, kinds=KINDS, careful=1)
    with make_scenario(
        "Delays, replays and kills", seed=seed, ledger=ledger, provider=SLOW, **QUICKER
    ) as scenario:
        _live(scenario, mix)


def _live(scenario: Scenario, mix: Mix) -> None:
    """Have every command sent in the end, with as many replays as that takes."""
    scenario.provider.settings(lag=NEVER)
    wanted: dict[SubmissionId, Sms] = {}
    bodies = [_of_its_kind(scenario, mix, wanted, number) for number in range(mix.commands)]
    again = bodies[::2]
    published = [*bodies, *again]
    scenario.chance.shuffle(published)
    scenario.fired["duplicates"] = len(again)
    early, late = list(mix.early), list(mix.late)
    scenario.start(failpoint=_armed_at(early))
    scenario.publish(published)
    _work(scenario, early)
    first = _so_far(scenario, wanted)

    ended_badly = [name for name in ("rejected", "failed", "unknown") if first.outcomes[name]]
    assert len(ended_badly) >= mix.ways, first.outcomes
    scenario.provider.settings(lag=PROVIDER["lag"])
    scenario.end(scenario.running)
    scenario.start(failpoint=_armed_at(late), ready=False)
    _send_back_until_all_is_sent(scenario, late, mix.careful)
    verdict = _so_far(scenario, wanted)
    scenario.note(verdict)

    assert verdict.outcomes == {"sent": len(wanted)}
    assert early == []
    assert len(late) < len(mix.late)
    assert all(scenario.fired.values()), scenario.fired


def _send_back_until_all_is_sent(scenario: Scenario, places: list[str], careful: int) -> None:
    """Send dead letters back, some twice and some of earlier lives; after `careful` rounds with `--resend`."""
    stale: list[Message] = []
    for number in range(MOST_ITERATIONS):
        letters = scenario.letters()
        if not letters:
            return
        copies = [*letters, *_some(scenario, letters), *_some(scenario, stale)]
        scenario.fired["letters too many"] += len(copies) - len(letters)
        scenario.chance.shuffle(copies)
        for letter in copies:
            scenario.put_letter(letter)
        stale += letters
        _send_back(scenario, len(copies), resend=number >= careful)
        _work(scenario, places)
    raise AssertionError(f"{len(scenario.letters())} dead letters are left after {MOST_ITERATIONS} rounds")


def _send_back(scenario: Scenario, letters: int, *, resend: bool) -> None:
    """Send all back; who does that is killed at one of them, between its confirm and its removal."""
    replay = ("dead", "replay", "--all", "--yes", *(["--resend"] if resend else []))
    nth = scenario.chance.randint(1, letters)
    killed, _ = scenario.operate(*replay, failpoint=f"replayed:kill9:{nth}")

    assert killed == -signal.SIGKILL
    scenario.fired["operators killed"] += 1
    # The broker puts back what the dead one held.
    scenario.wait(
        lambda: scenario.amqp.depth("sms.dead") >= letters - nth + 1, what="the letters that are left"
    )
    code, _ = scenario.operate(*replay)

    assert code == 0


def _work(scenario: Scenario, places: list[str]) -> None:
    """Work until all is quiet; the worker dies at the first of `places`, its successor at the next."""
    while _dies(scenario, places[0] if places else ""):
        if places[0] != ANYWHERE or scenario.rows(IN_FLIGHT):
            # One that was killed with nothing in its hands proves nothing, and another one follows.
            places.pop(0)
        scenario.start(failpoint=_armed_at(places), ready=False)


def _dies(scenario: Scenario, place: str) -> bool:
    """Wait until the worker is dead, at `place`, or all is quiet; returns whether it is dead."""
    worker, moments = scenario.running, scenario.chance.randint(1, 5)

    def is_over() -> bool:
        nonlocal moments
        if place == ANYWHERE and scenario.rows(IN_FLIGHT):
            moments -= 1
            if not moments:
                worker.send_signal(signal.SIGKILL)
        return worker.returncode is not None or scenario.is_idle()

    scenario.wait(is_over, 120, "a worker that is dead, or quiet")
    if worker.returncode is None:
        return False
    scenario.died()
    return True


def _armed_at(places: list[str]) -> str:
    return places[0] if places and places[0] != ANYWHERE else ""


def _so_far(scenario: Scenario, wanted: dict[SubmissionId, Sms]) -> Verdict:
    """Wait until all is quiet and judge what has become of everything; the dead letters lie there again after it."""
    scenario.wait(scenario.is_idle, 90, "idle")
    left = scenario.left()
    verdict = judge_replays(left, wanted, scenario.replays())
    for letter in left.dead:
        scenario.put_letter(letter)

    assert verdict.violations == ()
    return verdict


def _of_its_kind(scenario: Scenario, mix: Mix, wanted: dict[SubmissionId, Sms], number: int) -> bytes:
    """Make the `number`-th command, and have the provider treat it as its kind is treated."""
    fields: dict[str, object] = {}
    if number % 3 == 2:
        later = datetime.now(UTC) + timedelta(seconds=HELD_FOR)  # noqa: TID251 - the command's own time
        fields["send_at"] = later.isoformat()
    faults = mix.kinds[number % len(mix.kinds)]
    return _command(scenario, wanted, *faults, numbers=NUMBERS if number % 4 == 3 else 1, **fields)


def _command(
    scenario: Scenario, wanted: dict[SubmissionId, Sms], *faults: Fault, numbers: int = 1, **fields: object
) -> bytes:
    """Make a command to so many numbers; the provider has `faults` for its calls, in turn."""
    first = 2000 + len(wanted)
    destinations = [f"+1613555{number}" for number in range(first, first + numbers)]
    command_id, body = scenario.command(destination_address=destinations, **fields)
    own_text = scenario.commands[command_id]
    scenario.provider.faults(*({**fault, "text": own_text} for fault in faults))
    for index, destination in enumerate(destinations):
        wanted[SubmissionId(command_id, index)] = Sms(text=own_text, destination=destination)
    return body


def _some(scenario: Scenario, letters: list[Message]) -> list[Message]:
    return scenario.chance.sample(letters, (len(letters) + 1) // 2)
