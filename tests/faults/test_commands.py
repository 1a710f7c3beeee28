"""Commands that are no commands, that come too late, and too many at once: C1, C3 and C4."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import MakeScenario

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

#: Bodies that are not a command, each in a different way.
NONSENSE = (
    b"", b"{", b"[]", b"null", b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 10_000, b'{"id": "x", "id": "y"}', b'{"id": NaN}',
    b'{"id": "x", "message": "\\ud800"}', b"1" + b"0" * 100_000, b"{}\x00",
)  # fmt: skip


def test_invalid_command_is_published_once_when_it_is_delivered_repeatedly(
    make_scenario: MakeScenario,
) -> None:
    with make_scenario("C1, 12 kinds of nonsense, twice, among 40 commands", seed=601) as scenario:
        scenario.start()
        scenario.others.update({None, "x", "y"})
        for body in [*NONSENSE, *NONSENSE]:
            scenario.amqp.publish(body)
            scenario.send()
            scenario.fired["nonsense"] += 1
        scenario.send(40 - len(scenario.commands) % 40)
        verdict = scenario.kept()
        invalid = [message for message in scenario.events if message.routing_key == "sms.outbound.invalid"]

        assert set(verdict.outcomes) == {"sent"}
        assert len(invalid) == 2 * len(NONSENSE)
        assert len({message.properties["message_id"] for message in invalid}) == len(NONSENSE)


@pytest.mark.long
def test_command_that_expired_in_the_queue_is_not_sent(make_scenario: MakeScenario) -> None:
    with make_scenario("C3, expired in the backlog", seed=603) as scenario:
        scenario.declare()
        soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()  # noqa: TID251 - the command's own time
        scenario.send(20, expires_at=soon)
        scenario.send(20)
        with pytest.raises(AssertionError):
            scenario.wait(lambda: False, within=1.5)
        scenario.fired["expired commands"] = 20
        scenario.start()
        verdict = scenario.kept()

        assert verdict.outcomes == {"sent": 20, "expired": 20}


@pytest.mark.long
def test_backlog_is_processed_in_bounded_memory(make_scenario: MakeScenario) -> None:
    with make_scenario("C4, backlog of 3000", seed=604, provider={"latency": 0.0}) as scenario:
        scenario.declare()
        scenario.send(3000)
        scenario.fired["backlog"] = scenario.amqp.depth("sms.send")
        scenario.start()
        verdict = scenario.kept(within=180)

        assert verdict.outcomes == {"sent": 3000}
        assert scenario.rss < 150
