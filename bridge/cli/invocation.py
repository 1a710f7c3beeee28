"""What every command is given: the way to the settings and to the parts that do the work."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from bridge.settings import Settings


class Wiring(Protocol):
    """What the commands ask of `bridge.bootstrap`.

    All raise SettingsError where the settings lack what they need, and ConnectionError where a service that a one-shot
    command needs is not reachable. The first four return an exit code, after SIGTERM too.
    """

    def run_up(self, settings: Settings) -> int:
        """Run a worker and an ingest in one process until it is stopped."""
        ...

    def run_worker(self, settings: Settings) -> int:
        """Run a worker until it is stopped."""
        ...

    def run_ingest(self, settings: Settings) -> int:
        """Run an ingest until it is stopped."""
        ...

    def run_simulator(
        self,
        settings: Settings,
        *,
        host: str,
        port: int,
        journal: Path | None,
        numbers: Sequence[str],
        external_webhooks: bool,
    ) -> int:
        """Run the simulator until it is stopped."""
        ...

    def send(
        self, settings: Settings, command: Mapping[str, object], wait: float | None
    ) -> Sequence[Mapping[str, Any]]:
        """Publish a command, confirmed; return the outcome events that came within `wait` seconds, if any."""
        ...

    def tail_events(self, settings: Settings, keys: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Yield events as they are published, from now on, whose type matches one of the binding `keys`."""
        ...

    def declare_topology(self, settings: Settings) -> Sequence[str]:
        """Declare what is missing on the broker; return the name of everything that is there now."""
        ...

    def check_topology(self, settings: Settings) -> Sequence[str]:
        """Return what is missing on the broker or other than it should be, one line each."""
        ...


class Invocation:
    """One run of the command line. `wiring` and `environ` are given by tests; the rest of us have the real ones."""

    def __init__(self, wiring: Wiring | None = None, environ: Mapping[str, str] | None = None) -> None:
        self.config: str | None = None
        self._wiring = wiring
        self._environ = os.environ if environ is None else environ

    @property
    def wiring(self) -> Wiring:
        """What does the work, imported when it is asked for."""
        if self._wiring is None:
            from bridge import bootstrap

            self._wiring = bootstrap
        return self._wiring

    def settings(self, **options: object) -> Settings:
        """Return the settings; `options` (`ingest__port=8080`) go before everything else, those of None aside.

        Raises:
            SettingsError: with every mistake there is.

        """
        from bridge.settings import read

        given = {f"BRIDGE_{name.upper()}": str(value) for name, value in options.items() if value is not None}
        return read(self.config, {**self._environ, **given})


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)


def _remember(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Invocation).config = value


#: Taken before and behind the command's name alike; the later one counts.
config_option = click.option(
    "--config",
    metavar="FILE",
    expose_value=False,
    is_eager=True,
    callback=_remember,
    help="The configuration file; else $BRIDGE_CONFIG, ./bridge.toml, /etc/sms-bridge/bridge.toml.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON.")
