"""Required settings of a command. Separate from `parts`, whose imports are slow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.settings import SettingProblem, SettingsError

if TYPE_CHECKING:
    from bridge.settings import Settings


def require(settings: Settings, *, broker: bool = False, account: bool = False, submit: bool = False) -> None:
    """Check that a command's required settings are configured; `submit`: also those of the command API, if it is used.

    Not in `bridge.settings.checks`: workers read the same file and must not need the secret of the command API.

    Raises:
        SettingsError: with all missing settings.

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
                "submit.authorization", "is missing: any client that reaches submit.port could send messages"
            )
        )
    if problems:
        raise SettingsError(problems)
