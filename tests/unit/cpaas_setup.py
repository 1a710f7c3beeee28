"""Shared set-up of the tests of the provider's client: short timeouts and a manual clock."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bridge.adapters.clock import SystemClock
from bridge.adapters.cpaas.account import CpaasAccount
from bridge.adapters.cpaas.client import CpaasClient
from bridge.adapters.cpaas.retry import RetryPolicy
from bridge.domain.submissions import Submission
from tests.fakes.provider_server import ProviderServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.domain.answers import Answer
    from bridge.ports import Clock

SECRET = "canary-client-secret"
NUMBER = "+16139998877"
TEXT = "canary text"
#: A retry policy that never repeats a call.
ONCE = RetryPolicy(in_process=0)


@dataclass(slots=True)
class ClientSetup:
    """A client and its provider."""

    server: ProviderServer
    client: CpaasClient
    stopping: threading.Event = field(default_factory=threading.Event)

    def send(self, *, until: float = 1e12, **changes: Any) -> Answer:
        """Send something and return the answer."""
        return self.client.send(submission(**changes), until=until).answer


def submission(**changes: Any) -> Submission:
    """Return a submission."""
    given: dict[str, Any] = {
        "command_id": "cmd-1",
        "index": 0,
        "destination_address": NUMBER,
        "sender_address": "default",
        "message": TEXT,
    }
    return Submission(**(given | changes))


def account(base_url: str, **changes: Any) -> CpaasAccount:
    """Return an account with short timeouts."""
    given: dict[str, Any] = {
        "base_url": base_url,
        "client_id": "PUB-bridge",
        "client_secret": SECRET,
        "connect_timeout": 2.0,
        "read_timeout": 2.0,
        "total_timeout": 5.0,
    }
    return CpaasAccount(**(given | changes))


@contextmanager
def client_setup(
    *,
    clock: Clock | None = None,
    retry: RetryPolicy = ONCE,
    server: ProviderServer | None = None,
    base_url: str | None = None,
    **changes: Any,
) -> Iterator[ClientSetup]:
    """Start a provider and a client for it."""
    stopping = threading.Event()
    with server or ProviderServer() as provider:
        client = CpaasClient(
            account(base_url or provider.base_url, **changes), clock or SystemClock(), retry, stopping
        )
        yield ClientSetup(provider, client, stopping)
        client.close()


def all_at_once(count: int, what: Callable[[], Answer]) -> list[Answer]:
    """Call `what` in `count` threads that start together, and return each result."""
    barrier = threading.Barrier(count)
    results: list[Answer] = []

    def run() -> None:
        barrier.wait(10)
        results.append(what())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def elapsed(what: Callable[[], object]) -> float:
    """Return the seconds `what` takes."""
    started = time.monotonic()
    what()
    return time.monotonic() - started
