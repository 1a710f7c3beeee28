"""Commands that are no commands, that come too late, and too many at once: C1, C3 and C4."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import MakeRig

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

#: No command, each in a way of its own.
NONSENSE = (
    b"", b"{", b"[]", b"null", b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 10_000, b'{"id": "x", "id": "y"}', b'{"id": NaN}',
    b'{"id": "x", "message": "\\ud800"}', b"1" + b"0" * 100_000, b"{}\x00",
)  # fmt: skip


def test_what_is_no_command_is_told_once_however_often_it_comes(make_rig: MakeRig) -> None:
    with make_rig("C1, 12 kinds of nonsense, twice, among 40 commands", seed=601) as rig:
        rig.start()
        rig.others.update({None, "x", "y"})
        for body in [*NONSENSE, *NONSENSE]:
            rig.amqp.publish(body)
            rig.send()
            rig.fired["nonsense"] += 1
        rig.send(40 - len(rig.commands) % 40)
        verdict = rig.kept()
        invalid = [message for message in rig.events if message.routing_key == "sms.outbound.invalid"]

        assert set(verdict.outcomes) == {"sent"}
        assert len(invalid) == 2 * len(NONSENSE)
        assert len({message.properties["message_id"] for message in invalid}) == len(NONSENSE)


@pytest.mark.long
def test_what_expired_in_the_queue_is_not_called(make_rig: MakeRig) -> None:
    with make_rig("C3, expired in the backlog", seed=603) as rig:
        rig.declare()
        soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()  # noqa: TID251 - the command's own time
        rig.send(20, expires_at=soon)
        rig.send(20)
        with pytest.raises(AssertionError):
            rig.wait(lambda: False, within=1.5)
        rig.fired["expired commands"] = 20
        rig.start()
        verdict = rig.kept()

        assert verdict.outcomes == {"sent": 20, "expired": 20}


@pytest.mark.long
def test_a_backlog_is_worked_off_in_bounded_memory(make_rig: MakeRig) -> None:
    with make_rig("C4, backlog of 3000", seed=604, provider={"latency": 0.0}) as rig:
        rig.declare()
        rig.send(3000)
        rig.fired["backlog"] = rig.amqp.depth("sms.send")
        rig.start()
        verdict = rig.kept(within=180)

        assert verdict.outcomes == {"sent": 3000}
        assert rig.rss < 150
