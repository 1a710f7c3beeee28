"""Concurrent checks: each returns its result, and none delays another."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from bridge.ops.examination import Check, CheckResult, examine, fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Iterator


def check(name: str, *check_results: CheckResult) -> Check:
    return Check(name=name, check=lambda: check_results, advice=f"see {name}")


def test_results_are_reported_in_the_order_of_the_checks() -> None:
    found = list(examine([check("one", ok("a"), warn("b", "mend b")), check("two", fail("c", "mend c"))]))

    assert [(one.check, one.check_result.seen) for one in found] == [("one", "a"), ("one", "b"), ("two", "c")]


def test_exception_of_a_check_is_its_result_with_a_hint() -> None:
    def broken() -> Iterator[CheckResult]:
        yield ok("so far so good")
        raise ConnectionError("no server is there")

    found = list(examine([Check(name="one", check=broken, advice="look there"), check("two", ok("fine"))]))

    assert [one.check_result for one in found] == [
        ok("so far so good"),
        fail("no server is there", "look there"),
        ok("fine"),
    ]


def test_hanging_check_does_not_delay_other_checks() -> None:
    held = threading.Event()

    def endless() -> list[CheckResult]:
        held.wait()
        return []

    found = list(
        examine([Check(name="one", check=endless, advice="look"), check("two", ok("fine"))], timeout=0.05)
    )
    held.set()

    assert [one.check_result for one in found] == [fail("no answer in time", "look"), ok("fine")]
