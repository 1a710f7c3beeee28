"""One-shot commands, run to their end."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.harness.forks import Server
from tests.harness.processes import USUAL, BridgeProcess, clean_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Seconds that any command may take.
TIMEOUT = 40


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended, and what it said."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Its stdout, read as JSON."""
        return json.loads(self.stdout)


def run(*arguments: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Done:
    """Run `bridge` with `arguments`; `env` is added to a cleaned environment."""
    command, cleaned = [*BridgeProcess.program, *arguments], clean_environment(env)
    server = Server.of(command, cleaned, USUAL)
    if server is not None:
        return Done(*server.run(command, cleaned, stdin, TIMEOUT))
    done = subprocess.run(
        command,
        env=cleaned,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
