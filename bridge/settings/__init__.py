"""Configuration: one TOML file, every value of which an environment variable can override (SPEC section 7).

`config/bridge.toml` is the reference: every key with its default and what it does.
"""

from pydantic import SecretStr

from bridge.settings.load import SettingProblem, SettingsError, load
from bridge.settings.model import Settings
from bridge.settings.read import read
from bridge.settings.sections import (
    AddressSettings,
    AdminSettings,
    BrokerSettings,
    CommandSettings,
    CpaasSettings,
    EventSettings,
    IngestSettings,
    LedgerSettings,
    LimitSettings,
    LogSettings,
    ReconcileSettings,
    RetrySettings,
    SubmitSettings,
    SubscriptionSettings,
    WorkerSettings,
)
from bridge.settings.values import SecretUrl

__all__ = [
    "AddressSettings",
    "AdminSettings",
    "BrokerSettings",
    "CommandSettings",
    "CpaasSettings",
    "EventSettings",
    "IngestSettings",
    "LedgerSettings",
    "LimitSettings",
    "LogSettings",
    "ReconcileSettings",
    "RetrySettings",
    "SecretStr",
    "SecretUrl",
    "SettingProblem",
    "Settings",
    "SettingsError",
    "SubmitSettings",
    "SubscriptionSettings",
    "WorkerSettings",
    "load",
    "read",
]
