"""Where RabbitMQ's own scripts and Erlang's programs are on this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

#: The environment variable with the directory of another RabbitMQ's scripts: `make test RABBITMQ=path`. An `erl`, an
#: `epmd` and an `erl_call` in that directory are used as well.
OTHER = "RABBITMQ"
#: Where packages put `rabbitmq-server` and `rabbitmqctl`: Debian, Homebrew, a generic Unix build.
PLACES = (
    "/usr/lib/rabbitmq/bin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
    "/usr/local/sbin",
)


class BrokerMissing(Exception):
    """RabbitMQ is not installed here."""


def find_rabbitmq() -> Path:
    """Return the directory of RabbitMQ's own scripts.

    Raises:
        BrokerMissing: there is none.

    """
    on_path = shutil.which("rabbitmq-server")
    places = [*map(Path, PLACES), *([Path(on_path).resolve().parent] if on_path else [])]
    if os.environ.get(OTHER):
        places = [Path(os.environ[OTHER])]
    for place in places:
        if (place / "rabbitmq-server").exists() and (place / "rabbitmqctl").exists():
            return place
    raise BrokerMissing(
        f"no rabbitmq-server and rabbitmqctl in {', '.join(map(str, places))}; scripts/install-test-tools installs them"
    )


def epmd_program(scripts: Path) -> str:
    program = shutil.which("epmd", path=f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        raise BrokerMissing("no epmd here: Erlang is not installed")
    return program


def erl_call_program(scripts: Path) -> str:
    """Return the program that evaluates on a running node; Erlang has it beside its `epmd`."""
    program = Path(epmd_program(scripts)).resolve().parent / "erl_call"
    if not program.exists():
        raise BrokerMissing(f"no {program} here: Erlang is not installed as a whole")
    return str(program)
