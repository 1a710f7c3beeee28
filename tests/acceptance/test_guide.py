"""Follows the guide line by line: its commands run, and print the output that it shows.

UNTRIED lists the commands that do not run here: they install packages, need root, or start services of the machine.
The test replaces the guide's ports and directories by others.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.harness.processes import clean_environment
from tests.harness.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.broker_client import BrokerClient

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
#: Commands that begin so are not run, and why.
UNTRIED = {
    "git clone": "the network; what is tried is this tree",
    "sudo apt-get": "packages; the broker is the suite's own",
    "sudo rabbitmqctl": "the machine's own broker",
    "sudo python3 -m venv": "it takes a while, and the next one needs packages; tests have an environment",
    "sudo ln -sfn 0.1.0": "the environment of the tests stands there already",
    "sudo /opt/sms-bridge/0.1.0/bin/python -m pip": "packages",
    "sudo systemctl": "services of the machine",
    "curl --silent http://127.0.0.1:9": "asks those services",
    "sudo env CREDENTIALS_DIRECTORY=/etc/sms-bridge/credentials BRIDGE_CONFIG=/etc/sms-bridge/bridge.toml "
    "/opt/sms-bridge/current/bin/bridge send": "a real SMS",
    "sudo env CREDENTIALS_DIRECTORY=/etc/sms-bridge/credentials BRIDGE_CONFIG=/etc/sms-bridge/bridge.toml "
    "/opt/sms-bridge/current/bin/bridge doctor": "asks the real account, and a public name",
}
#: Input of the commands that read from the terminal.
TYPED = {
    "credentials/broker.url": "amqp://sms:hunter2@localhost/sms\n",
    "credentials/cpaas.client_secret": "hunter2\n",
}


@dataclass
class Command:
    """A command of the guide and its expected output, `…` for any text."""

    text: str
    says: list[str] = field(default_factory=list)

    @property
    def is_tried(self) -> bool:
        """Whether it may be run, and what it takes is here; where CI is set everything must be."""
        is_here = self.text.split()[0] not in {"curl", "systemd-analyze"} or shutil.which(
            self.text.split()[0]
        )
        return bool(is_here or "CI" in os.environ) and not self.text.startswith(tuple(UNTRIED))

    @property
    def pattern(self) -> re.Pattern[str]:
        """The pattern of its output."""
        said = "\n".join(self.says)
        return re.compile(".*".join(map(re.escape, said.split("…"))), re.DOTALL)


def commands_of(block: str) -> list[Command]:
    """Return the commands of a block: each begins with `$ `, and goes on to the end of its here-document."""
    commands: list[Command] = []
    lines = iter(block.splitlines())
    for line in lines:
        if line.startswith("$ "):
            text = line[2:]
            if "<<'END'" in text:
                for more in lines:
                    text += f"\n{more}"
                    if more == "END":
                        break
            commands.append(Command(text))
        elif not line.startswith("# "):
            commands[-1].says.append(line)
    return commands


BLOCKS = re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL)


class Reader:
    """Follows the guide in a separate directory."""

    def __init__(self, directory: Path, broker_url: str) -> None:
        self.directory = directory
        self.clone = directory / "sms-bridge"
        self.running: list[subprocess.Popen[bytes]] = []
        self._changes = {
            "amqp://guest:guest@localhost:5672/%2f": broker_url,
            "/opt/sms-bridge": str(directory / "opt"),
            "/etc/sms-bridge": str(directory / "etc"),
            "/etc/systemd/system": str(directory / "units"),
            "8090": str(free_port()),
            "8080": str(free_port()),
        }
        self.port = self._changes["8090"]
        self._make_machine()
        self._state = directory / "state"
        self._state.write_text(f"cd {self.directory}\n")
        self.env = clean_environment(
            {
                "PATH": f"{directory / 'bin'}:{os.environ['PATH']}",
                "BRIDGE_ADMIN__PORT": str(free_port()),
                "BRIDGE_INGEST__PORT": self._changes["8080"],
            }
        )

    def _make_machine(self) -> None:
        """Make what the untried commands would leave: a clone, an installation; and a sudo that gives no rights."""
        share = self.directory / "opt" / "current" / "share" / "sms-bridge"
        for name in ("bin", "units", "opt/current/bin"):
            (self.directory / name).mkdir(parents=True)
        sudo = self.directory / "bin" / "sudo"
        sudo.write_text('#!/bin/sh\nexec "$@"\n')
        sudo.chmod(0o755)
        environment = Path(sys.executable).parent
        (self.directory / "opt" / "current" / "bin" / "bridge").symlink_to(environment / "bridge")
        self.clone.mkdir()
        (self.clone / ".venv").symlink_to(environment.parent)
        shutil.copy(ROOT / "Makefile", self.clone)
        shutil.copytree(ROOT / "deploy" / "systemd", share / "systemd")
        for unit in (share / "systemd").iterdir():
            unit.write_text(self.changed(unit.read_text()))

    def changed(self, text: str) -> str:
        """Return a text of the guide with the test's ports and directories in place of the machine's."""
        for old, new in self._changes.items():
            text = text.replace(old, new)
        return text

    def do(self, command: Command, typed: str = "") -> str:
        """Run a command where the last one has left off; return what it said on stdout."""
        script = f"set -e\n{self._state.read_text()}\n{self.changed(command.text)}\n"
        done = subprocess.run(
            ["bash", "-c", script],
            env=self.env,
            input=typed,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

        assert (done.returncode, done.stderr) == (0, ""), f"{command.text}\n{done.stdout}{done.stderr}"
        if command.text.startswith(("cd ", ". ")):
            self._state.write_text(f"{self._state.read_text()}{command.text}\n")
        return done.stdout

    def leave_running(self, commands: list[Command], name: str) -> Path:
        """Run the commands of another terminal, the last of which goes on; return the file that it writes to."""
        out = self.directory / f"{name}.out"
        *before, last = (self.changed(command.text) for command in commands)
        script = "\n".join(["set -e", f"cd {self.directory / 'my-sms'}", *before, f"exec {last}"])
        with out.open("wb") as stream:
            process = subprocess.Popen(["bash", "-c", script], env=self.env, stdout=stream, stderr=stream)
        self.running.append(process)
        return out

    def interrupt(self) -> list[int]:
        """Press Ctrl-C in every terminal; return the exit codes."""
        for process in self.running:
            process.send_signal(signal.SIGINT)
        codes = [process.wait(30) for process in self.running]
        self.running.clear()
        return codes

    def is_there(self, path: str) -> bool:
        """Whether the simulator answers."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2):
                return True
        except (URLError, OSError):
            return False


@pytest.fixture
def reader(tmp_path: Path, amqp: BrokerClient) -> Iterator[Reader]:
    """Return a reader of the guide, with a broker."""
    reader = Reader(tmp_path, amqp.url)
    yield reader
    for process in reader.running:
        process.kill()
        process.wait()


def test_each_untried_command_is_in_the_guide() -> None:
    texts = [command.text for block in BLOCKS for command in commands_of(block)]

    assert [start for start in UNTRIED if not any(text.startswith(start) for text in texts)] == []


def test_the_first_part_shows_what_the_guide_shows(reader: Reader) -> None:
    (*_, run) = commands_of(BLOCKS[0])
    out = reader.directory / "run.out"
    # As `make run` has it, once its environment is made.
    recipe = re.search(r"^run:.*\n\t@exec \$\(BIN\)/(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert (run.text, recipe and recipe[1]) == ("make run", "bridge up")
    with (
        out.open("wb") as stream,
        subprocess.Popen(
            [Path(sys.executable).with_name("bridge"), "up"],
            env=reader.env,
            stdout=stream,
            cwd=reader.directory,
        ) as demo,
    ):
        reader.running.append(demo)
        wait_until(lambda: run.pattern.search(out.read_text()), 30, what="what the guide shows")

        assert reader.interrupt() == [0]


def test_the_rest_of_the_guide_can_be_followed_line_by_line(reader: Reader, amqp: BrokerClient) -> None:
    reader.do(Command("cd sms-bridge"))
    outputs: list[Path] = []
    for block in BLOCKS[1:]:
        commands = commands_of(block)
        if block.startswith("# "):
            outputs.append(reader.leave_running(commands, str(len(outputs))))
            wait_for(reader, amqp, outputs)
            continue
        for command in commands:
            if command.text.startswith("cd ../sms-bridge"):
                see_what_the_consumer_printed(outputs[2])
                # A consumer without a signal handler ends with the interrupt.
                assert reader.interrupt() == [0, 0, -signal.SIGINT]
            if command.is_tried:
                typed = next((typed for name, typed in TYPED.items() if name in command.text), "")
                said = reader.do(command, typed)

                assert command.pattern.fullmatch(said.strip()), f"{command.text}\nsaid:\n{said}"
                assert "hunter2" not in said


def wait_for(reader: Reader, amqp: BrokerClient, outputs: list[Path]) -> None:
    """Wait until what runs in a terminal can be used; a reader is not so quick."""
    ready = {
        1: lambda: reader.is_there("/_simulator/journal"),
        2: lambda: (
            "subscription.made" in outputs[1].read_text()
            and amqp.exists("sms.send")
            and amqp.consumers("sms.send")
        ),
        3: lambda: amqp.exists("my.events") and amqp.consumers("my.events"),
    }
    wait_until(ready[len(outputs)], 40, what=f"terminal {len(outputs) + 1}")


def see_what_the_consumer_printed(out: Path) -> None:
    """See that the consumer says what the guide shows."""
    (shown,) = re.findall(r"```text\n(.*?)```", GUIDE, re.DOTALL)
    wait_until(
        lambda: len(out.read_text().splitlines()) >= len(shown.splitlines()), 20, what=f"all of\n{shown}"
    )

    assert sorted(out.read_text().splitlines()) == sorted(shown.splitlines())
