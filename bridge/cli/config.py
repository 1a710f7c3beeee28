"""`bridge config`: checks and shows the configuration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.exits import Exit
from bridge.cli.invocation import Invocation, config_option, json_option, pass_invocation
from bridge.cli.output import write_json, write_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bridge.settings import SettingProblem


@click.group()
def config() -> None:
    """Check or show the configuration."""


@config.command()
@json_option
@config_option
@pass_invocation
def check(invocation: Invocation, *, as_json: bool) -> int:
    """Report all mistakes of the configuration at once; exit 78 if there are any.

    Certificates, keys and drivers are checked on this machine; no connection is opened.
    """
    from bridge.settings import SettingsError

    problems = _problems(invocation)
    if as_json:
        write_json({"problems": [problem._asdict() for problem in problems]})
        return Exit.CONFIG if problems else Exit.DONE
    if problems:
        raise SettingsError(problems)
    write_line("configuration is valid")
    return Exit.DONE


def _problems(invocation: Invocation) -> list[SettingProblem]:
    from bridge.app.environment import unusable_here
    from bridge.settings import SettingsError

    try:
        settings = invocation.settings()
    except SettingsError as error:
        return error.problems
    return list(invocation.use(unusable_here)(settings))


@config.command()
@json_option
@config_option
@pass_invocation
def show(invocation: Invocation, *, as_json: bool) -> None:
    """Print every value in use, with secrets masked."""
    sections = invocation.settings().model_dump(mode="json")
    if as_json:
        write_json(sections, indent=2)
    for line in [] if as_json else _toml(sections):
        write_line(line)


def _toml(sections: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Write the sections as TOML. Each value's JSON is also valid TOML."""
    for number, (section, table) in enumerate(sections.items()):
        if number:
            yield ""
        yield f"[{section}]"
        for key, value in table.items():
            yield f"{key} = {json.dumps('' if value is None else value, ensure_ascii=False)}"
