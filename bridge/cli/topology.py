"""`bridge topology`: declares and checks the exchanges and queues on the broker."""

from __future__ import annotations

import click

from bridge.cli.exits import Exit
from bridge.cli.invocation import Invocation, config_option, json_option, pass_invocation
from bridge.cli.output import write_json, write_line


@click.group()
def topology() -> None:
    """Declare exchanges and queues, or check them."""


@topology.command()
@json_option
@config_option
@pass_invocation
def declare(invocation: Invocation, *, as_json: bool) -> None:
    """Declare missing exchanges, queues and bindings."""
    from bridge.app.oneshot import declare_topology

    names = invocation.use(declare_topology)(invocation.settings())
    if as_json:
        write_json({"declared": list(names)})
    for name in [] if as_json else names:
        write_line(name)


@topology.command()
@json_option
@config_option
@pass_invocation
def check(invocation: Invocation, *, as_json: bool) -> int:
    """Report missing and different exchanges and queues; exit 1 if there are any.

    With broker.management_url, it also names queues that lack members on a cluster. If the management API does not
    answer, a note says so, and the exit code is 69 if nothing else differs.
    """
    from bridge.app.members import check_members
    from bridge.app.oneshot import check_topology

    settings = invocation.settings()
    differences = list(invocation.use(check_topology)(settings))
    is_checked = True
    try:
        lacking, not_deduplicated = invocation.use(check_members)(settings)
    except ConnectionError as error:
        is_checked, lacking, not_deduplicated = (
            False,
            [],
            f"the members of the queues were not checked: {error}",
        )
    differences += lacking
    if as_json:
        write_json({"differences": list(differences)})
    for difference in [] if as_json else differences:
        write_line(difference)
    if not_deduplicated is not None:
        write_line(f"Note: {not_deduplicated}", err=True)
    if differences:
        return Exit.FAILED
    return Exit.DONE if is_checked else Exit.UNAVAILABLE
