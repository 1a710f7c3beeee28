"""A client for the admin ports of other processes on this machine, and the merger of their metrics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prometheus_client import Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: The address of the admin ports: only this machine can reach them.
HOST = "127.0.0.1"
#: Seconds for a response. Clients of the supervisor wait longer.
TIMEOUT = 1.0


async def scrape(port: int, path: str) -> str | None:
    """Return the body of `GET path`, with any status; None if no response comes in time."""
    try:
        async with asyncio.timeout(TIMEOUT):
            answer = await _get(port, path)
            return answer.partition(b"\r\n\r\n")[2].decode()
    except (OSError, ValueError):  # TimeoutError is an OSError
        return None


async def _get(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        head = [
            f"GET {path} HTTP/1.1",
            f"Host: {HOST}",
            f"Accept: {CONTENT_TYPE_LATEST}",
            "Connection: close",
        ]
        writer.write("".join(f"{line}\r\n" for line in [*head, ""]).encode())
        return await reader.read()
    finally:
        writer.close()


class Merged(Collector):
    """The metrics of several processes as one collector; each sample has the number of its process."""

    def __init__(self, expositions: Mapping[int, str]) -> None:
        """`expositions` are in the OpenMetrics format, by process; incomplete ones are skipped."""
        self._expositions = expositions

    def collect(self) -> Iterable[Metric]:
        """Return each metric family once."""
        merged: dict[str, Metric] = {}
        for number, text in self._expositions.items():
            for family in _read(text):
                one = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                one.samples += [
                    sample._replace(labels={"process": str(number), **sample.labels})
                    for sample in family.samples
                ]
        return merged.values()


def _read(text: str) -> list[Metric]:
    try:
        return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    except ValueError:
        # The process ended during its response.
        return []
