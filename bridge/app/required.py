"""What a command can't do without. Apart from `parts`, whose imports some commands need not wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.settings import SettingProblem, SettingsError

if TYPE_CHECKING:
    from bridge.settings import Settings


def require(settings: Settings, *, broker: bool = False, account: bool = False, submit: bool = False) -> None:
    """Check that what a command needs is configured; `submit`: also what the command API needs, if there is one.

    Not `bridge.settings.checks`: workers share the file and have no business with that endpoint's secret.

    Raises:
        SettingsError: with all that is missing.

    """
    problems = []
    if broker and settings.broker.url is None:
        problems.append(
            SettingProblem("broker.url", "is missing: where is RabbitMQ? For example amqp://user@host/vhost")
        )
    if account and not settings.cpaas.configured:
        problems.append(SettingProblem("cpaas.base_url", "is missing: which API, with which account?"))
    if submit and settings.submit.port is not None and not settings.submit.authorization:
        problems.append(
            SettingProblem(
                "submit.authorization", "is missing: whoever reaches submit.port could send messages"
            )
        )
    if problems:
        raise SettingsError(problems)
