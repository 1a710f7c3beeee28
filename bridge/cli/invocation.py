"""What every command is given: the way to the settings and to the parts that do the work."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.cli.wiring import Wiring
    from bridge.settings import Settings


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
            from bridge import app

            wiring: Wiring = app
            self._wiring = wiring
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
