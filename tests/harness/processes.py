"""`bridge` as a child process: watched through its own admin port, never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from tests.harness.forks import BRIDGE, Forked, Server
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Kills a process group once its input ends without a word: when the tests themselves are killed.
GUARD = 'read -r _ || kill -9 "-$1"'


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this environment without any variable of the bridge's or pytest's and without proxies, plus `extra`."""
    unwanted = ("BRIDGE_", "PYTEST_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(unwanted)}
    return kept | dict(extra or {})


#: The environment of a child that a test gives no variable.
USUAL = clean_environment()


def _start(
    command: list[str], env: Mapping[str, str], cwd: Path, out: BinaryIO, err: BinaryIO
) -> Forked | subprocess.Popen[bytes]:
    """Start `command` without any input in a session of its own."""
    server = Server.of(command, env, USUAL)
    if server is None:
        return subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    with Path(os.devnull).open("rb") as nothing:
        return server.fork(command, env, cwd, [nothing.fileno(), out.fileno(), err.fileno()])


class BridgeProcess:
    """One `bridge …` in a session of its own, in a directory of its own. Times are in seconds."""

    #: The console script that belongs to the interpreter of the tests.
    program: ClassVar[tuple[str, ...]] = (BRIDGE,)

    def __init__(self, directory: Path, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        """Start `bridge` with `arguments`; `env` is added to a cleaned environment.

        The admin port is chosen here (`admin_port`) unless `env` names one.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.arguments = arguments
        self.directory = directory
        self._out, self._err = directory / "stdout", directory / "stderr"
        own = {"BRIDGE_ADMIN__HOST": "127.0.0.1", "BRIDGE_ADMIN__PORT": str(free_port()), **(env or {})}
        self.admin_port = int(own["BRIDGE_ADMIN__PORT"])
        with self._out.open("ab") as out, self._err.open("ab") as err:
            self._child = _start([*self.program, *arguments], clean_environment(own), directory, out, err)
        self._guard = subprocess.Popen(
            ["sh", "-c", GUARD, "guard", str(self.pid)], stdin=subprocess.PIPE, start_new_session=True
        )

    @property
    def pid(self) -> int:
        """The process id, which is also its group's."""
        return self._child.pid

    @property
    def stdout(self) -> str:
        """What it wrote to stdout so far."""
        return self._out.read_text(errors="replace")

    @property
    def logs(self) -> str:
        """What it wrote to stderr so far."""
        return self._err.read_text(errors="replace")

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._child.poll()

    @property
    def memory(self) -> float:
        """The MB of memory that it has in use."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(dict(line.split(":", 1) for line in lines)["VmRSS"].split()[0]) / 1024

    def admin(self, path: str) -> tuple[int, str]:
        """GET `path` of the admin port: the status (0 where nobody answers) and the body."""
        try:
            with urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode(errors="replace")
        except (URLError, OSError):
            return 0, ""

    def wait_ready(self, within: float = 60) -> None:
        """Wait until `/readyz` says 200."""
        self.wait_answer("/readyz", 200, within)

    def wait_answer(self, path: str, status: int, within: float = 60) -> None:
        """Wait until the admin port answers `path` with `status`; fails at once where the process ended."""

        def answered() -> bool:
            if self.returncode is not None:
                raise AssertionError(f"bridge {self.arguments} ended with {self.returncode}:\n{self.logs}")
            return self.admin(path)[0] == status

        wait_until(answered, within, every=0.05, what=f"{status} from {path} of bridge {self.arguments}")

    def send_signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def wait(self, within: float = 20) -> int:
        """Wait for the end and return the exit code."""
        return self._child.wait(timeout=within)

    def stop(self, number: int = signal.SIGTERM, within: float = 20) -> int:
        """Send `number`, wait for the end and return the exit code."""
        self.send_signal(number)
        return self.wait(within)

    def kill(self) -> None:
        """Kill it and whatever it started, and wait for the end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._child.wait(timeout=10)
        if self._guard.poll() is None:
            self._guard.communicate(b"\n", timeout=10)
