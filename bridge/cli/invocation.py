"""Invocation: gives each command the settings and its use case; the options that all commands share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.settings import Settings

F = TypeVar("F", bound="Callable[..., Any]")


class Invocation:
    """One run of the command line."""

    def __init__(self, use_cases: object = None, environ: Mapping[str, str] | None = None) -> None:
        """Begin a run. Tests pass `environ`, and an object whose methods replace the use cases."""
        self.config: str | None = None
        self._use_cases = use_cases
        self._environ = os.environ if environ is None else environ

    def use(self, use_case: F) -> F:
        """Return a use case of `bridge.app`, or the function that replaces it in a test.

        Each raises SettingsError if a required setting is missing, and ConnectionError if a service that a one-shot
        command needs is not reachable.
        """
        if self._use_cases is None:
            return use_case
        stand_in: F = getattr(self._use_cases, use_case.__name__)
        return stand_in

    def settings(self, **options: object) -> Settings:
        """Return the settings; `options` (`ingest__port=8080`) override everything else; those of None are ignored.

        Raises:
            SettingsError: with every mistake.

        """
        from bridge.settings import read

        given = {f"BRIDGE_{name.upper()}": str(value) for name, value in options.items() if value is not None}
        return read(self.config, {**self._environ, **given})


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)


def _remember(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Invocation).config = value


#: Accepted before and after the command's name; the later one counts.
config_option = click.option(
    "--config",
    metavar="FILE",
    expose_value=False,
    is_eager=True,
    callback=_remember,
    help="The configuration file. Default: $BRIDGE_CONFIG, ./bridge.toml, /etc/sms-bridge/bridge.toml.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON.")
