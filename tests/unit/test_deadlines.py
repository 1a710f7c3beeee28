"""Deadlines that share one timer: each expires once and on time, independent of the others."""

from __future__ import annotations

import asyncio

from bridge.concurrency.event_loop import Deadlines


async def over_within(seconds: float, deadlines: Deadlines[str], ends: dict[str, float]) -> None:
    """Set a deadline for each number of seconds from now, and wait."""
    now = asyncio.get_running_loop().time()
    for key, end in ends.items():
        deadlines.set(key, now + end)
    await asyncio.sleep(seconds)


def test_deadlines_expire_in_order_of_time_and_a_cleared_one_never_does() -> None:
    found: list[str] = []
    deadlines = Deadlines(found.append)

    async def scenario() -> bool:
        await over_within(0, deadlines, {"late": 0.06, "taken back": 0.02, "early": 0.03, "far": 60.0})
        taken = deadlines.clear("taken back")
        await asyncio.sleep(0.2)
        return taken

    assert asyncio.run(scenario()) is True
    assert found == ["early", "late"]
    assert deadlines.clear("early") is False


def test_moved_deadline_expires_only_at_its_new_time() -> None:
    found: list[str] = []
    deadlines = Deadlines(found.append)

    async def scenario() -> list[str]:
        await over_within(0, deadlines, {"sooner": 60.0, "later": 0.02})
        await over_within(0.1, deadlines, {"sooner": 0.03, "later": 60.0})
        return list(found)

    assert asyncio.run(scenario()) == ["sooner"]


def test_callbacks_may_clear_and_set_deadlines_and_an_exception_does_not_stop_others() -> None:
    found: list[str] = []

    def over(key: str) -> None:
        found.append(key)
        if key == "first":
            deadlines.clear("second")
            deadlines.set("again", asyncio.get_running_loop().time() + 0.01)
        if key == "broken":
            raise RuntimeError(key)

    deadlines: Deadlines[str] = Deadlines(over)

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        await over_within(0.2, deadlines, {"first": -2.0, "second": -1.0, "broken": 0.0, "rest": 0.0})

    asyncio.run(scenario())

    assert found == ["first", "broken", "rest", "again"]


def test_deadlines_start_empty_on_another_event_loop() -> None:
    found: list[str] = []
    deadlines = Deadlines(found.append)

    asyncio.run(over_within(0, deadlines, {"of the first": 0.2}))
    asyncio.run(over_within(0.3, deadlines, {"of the second": 0.02}))

    assert found == ["of the second"]
