"""`bridge completion`: shell completion of commands and options."""

from __future__ import annotations

import click

from bridge.cli.invocation import config_option
from bridge.cli.output import write_program

PROGRAM = "bridge"
#: The variable by which a shell asks for completions; click defines its name.
VARIABLE = "_BRIDGE_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@config_option
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of `bridge` for SHELL.

    \b
    bash: bridge completion bash > ~/.local/share/bash-completion/completions/bridge
    zsh:  bridge completion zsh > ~/.zfunc/_bridge      (a directory of $fpath)
    fish: bridge completion fish > ~/.config/fish/completions/bridge.fish
    """  # noqa: D301 - click's marker against rewrapping
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click knows each of the choices
    write_program(found(context.find_root().command, {}, PROGRAM, VARIABLE).source())
