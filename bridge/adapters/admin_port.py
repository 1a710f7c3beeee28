"""The admin port's client: reads the liveness and readiness of a process."""

from __future__ import annotations

import http.client
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.adapters.http.admin_app import read_readiness

if TYPE_CHECKING:
    from bridge.ports.http_results import Readiness

#: Seconds that it may take to answer; a supervisor asks its processes for one.
TIMEOUT = 5.0
#: Where a process is reached that listens on all addresses of the machine.
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing listens here


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a process answered; `stall` names the stalled thread, None without one."""

    stall: str | None
    #: None where the answer is not one of the bridge's.
    readiness: Readiness | None


def ask(host: str, port: int) -> Said | None:
    """Ask a process on this machine; None where nothing listens there.

    Raises:
        TimeoutError: it listens and does not answer.
        ConnectionError: it does not speak HTTP.

    """
    host = _ANY.get(host, host)
    try:
        status, words = _get(host, port, "/livez")
        _, body = _get(host, port, "/readyz")
    except ConnectionRefusedError:
        return None
    except http.client.HTTPException as e:
        raise ConnectionError(f"the server on {host}:{port} does not speak HTTP") from e
    return Said(stall=None if status == 200 else words.strip(), readiness=read_readiness(body))


def _get(host: str, port: int, path: str) -> tuple[int, str]:
    with closing(http.client.HTTPConnection(host, port, timeout=TIMEOUT)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
