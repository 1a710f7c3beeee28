"""The sections of the configuration: one frozen model for each.

`config/bridge.toml` describes each key; a test compares the two. All times are in seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from bridge.domain.broker_parameters import TlsFiles
from bridge.domain.broker_url import BrokerNode, read_broker_urls
from bridge.domain.commands import CommandRules
from bridge.domain.names import WORDS, Names
from bridge.domain.rules import LedgerRules, ReceiptRules
from bridge.settings import values as v

#: The domain's defaults.
_COMMANDS, _LEDGER, _RECEIPTS = CommandRules(), LedgerRules(), ReceiptRules()

#: Seconds of a call beside connecting and reading: for name resolution and for sending the body.
CALL_OVERHEAD = 2.0

#: The default ports for health and metrics (`admin.port`).
WORKER_ADMIN_PORT = 9464
INGEST_ADMIN_PORT = 9465


class Section(BaseModel):
    """Base of all sections: immutable, no unknown keys, no values in errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False, validate_default=True
    )


class BrokerSettings(Section):
    """The connection to RabbitMQ, and the names of exchanges and queues."""

    url: v.BrokerUrls = None
    ca_file: v.FilePath = None
    certificate: v.FilePath = None
    key: v.FilePath = None
    management_url: v.ManagementUrl = None
    prefix: v.Name = "sms"
    declare: bool = True
    heartbeat: Annotated[int, Field(ge=0, le=3600)] = 30
    connect_timeout: v.ConnectSeconds = 5.0
    publish_deadline: v.Seconds = 20.0
    commands_exchange: v.DerivedName = ""
    command_queue: v.DerivedName = ""
    events_exchange: v.DerivedName = ""
    unrouted_queue: v.DerivedName = ""
    dead_queue: v.DerivedName = ""
    given_up_queue: v.DerivedName = ""
    unrouted_max_length: v.Count = 100_000
    delivery_limit: v.Count = 1000

    @field_validator(*WORDS)
    @classmethod
    def _from_prefix(cls, name: str, info: ValidationInfo) -> str:
        return name or str(getattr(Names(prefix=info.data.get("prefix", "sms")), info.field_name or ""))

    @property
    def names(self) -> Names:
        """The names on the broker."""
        return Names(prefix=self.prefix, **{name: getattr(self, name) for name in WORDS})

    @property
    def tls_files(self) -> TlsFiles:
        """The TLS files for connections whose URLs name no others."""
        ca_file, certificate, key = (
            None if path is None else str(path) for path in (self.ca_file, self.certificate, self.key)
        )
        return TlsFiles(ca_file=ca_file, certificate=certificate, key=key)

    @property
    def nodes(self) -> tuple[BrokerNode, ...]:
        """The addresses of the broker, in the order in which they are tried.

        Raises:
            BadBrokerUrl: the addresses contradict the TLS files; with valid settings they do not.

        """
        return read_broker_urls([url.get_secret_value() for url in self.url or ()], self.tls_files)


class CommandSettings(Section):
    """The limits of a command."""

    allow_missing_id: bool = _COMMANDS.allow_missing_id
    max_destinations: v.Count = _COMMANDS.max_destinations
    unknown_fields: Annotated[Literal["warn", "reject"], v.LOWER] = _COMMANDS.unknown_fields


class AddressSettings(Section):
    """The interpretation of national numbers."""

    default_region: Annotated[
        Annotated[str, StringConstraints(to_upper=True, pattern=r"^[A-Za-z]{2}$")] | None, v.NONE_IF_EMPTY
    ] = None


class CpaasSettings(Section):
    """The provider's API and the account. If both kinds of credentials are given, the client secret is used."""

    base_url: v.BaseUrl = None
    client_id: v.Text = None
    client_secret: v.SecretText = None
    email: v.Text = None
    password: v.SecretText = None
    connect_timeout: v.SocketTimeout = 3.0
    read_timeout: v.SocketTimeout = 10.0
    total_timeout: v.SecondsOrZero = 0.0
    max_response_bytes: v.Count = 1_048_576
    idle_timeout: v.SecondsOrZero = 4.0
    proxy: v.ProxyUrl = None
    ca_file: v.FilePath = None
    correlator: Annotated[str, StringConstraints(min_length=1, max_length=128)] = "sms-bridge"
    correlator_mode: Literal["instance", "command"] = "instance"
    default_sender: Annotated[v.Number | None, v.NONE_IF_EMPTY] = None

    @field_validator("total_timeout")
    @classmethod
    def _from_parts(cls, total: float, info: ValidationInfo) -> float:
        return (
            total
            or info.data.get("connect_timeout", 3.0) + info.data.get("read_timeout", 10.0) + CALL_OVERHEAD
        )

    @property
    def configured(self) -> bool:
        """Whether an account is configured."""
        return self.base_url is not None


class LedgerSettings(Section):
    """The durable record of submissions."""

    url: v.LedgerUrl = v.SecretUrl("sqlite:///sms-bridge.sqlite3")
    retention: v.Seconds = 7_776_000.0
    restored_lookup: v.SecondsOrZero = _LEDGER.restored_lookup


class WorkerSettings(Section):
    """The worker's concurrency, processes and leases."""

    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 16
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    one_core: bool = True
    prefetch: Annotated[int, Field(ge=0, le=65535)] = 0
    grace_period: v.SecondsOrZero = 30.0
    lease: v.Seconds = _LEDGER.lease
    poison_after: v.Count = _LEDGER.poison_after

    @field_validator("prefetch")
    @classmethod
    def _from_concurrency(cls, prefetch: int, info: ValidationInfo) -> int:
        return prefetch or min(2 * int(info.data.get("concurrency", 16)), 65535)


class RetrySettings(Section):
    """The retries of a submission."""

    max_age: v.SecondsOrZero = _LEDGER.retry.max_age
    in_process: v.SecondsOrZero = 5.0
    base: v.Seconds = _LEDGER.retry.base
    max_delay: v.Seconds = _LEDGER.retry.max_delay


class ReconcileSettings(Section):
    """The treatment of submissions in doubt."""

    settle: v.SecondsOrZero = _LEDGER.reconcile.settle
    skew: v.SecondsOrZero = _LEDGER.reconcile.skew
    on_absent: Literal["resend", "park"] = _LEDGER.reconcile.on_absent
    on_unknown: Literal["park", "resend"] = _LEDGER.reconcile.on_unknown
    history_cap: v.CountOrZero = _LEDGER.reconcile.history_cap


class LimitSettings(Section):
    """The rate limits."""

    account_per_second: v.PerSecond = _LEDGER.limits.account_per_second
    sender_per_second: v.PerSecond = _LEDGER.limits.sender_per_second


class SubscriptionSettings(Section):
    """The provider's subscriptions and channels."""

    numbers: Annotated[tuple[v.Number, ...], v.COMMA_SEPARATED] = ()
    webhook_url: v.HttpUrl = None
    keep: bool = False
    check_interval: v.Seconds = 300.0


class IngestSettings(Section):
    """The HTTP endpoint for the provider's notifications, and the spool."""

    host: v.Host = "127.0.0.1"
    port: v.Port = 8080
    path: v.UrlPath = "/inbound-sms/webhook"
    authorization: Annotated[tuple[v.HeaderSecret, ...], v.STRICT_LIST] = ()
    allow: Annotated[tuple[v.Network, ...], v.STRICT_LIST] = ()
    trusted_proxies: Annotated[tuple[v.Network, ...], v.COMMA_SEPARATED] = ()
    tls_certificate: v.FilePath = None
    tls_key: v.FilePath = None
    spool: v.FilePath = None
    spool_max_bytes: v.Count = 268_435_456
    spool_max_age: v.Seconds = 604_800.0
    confirm_timeout: v.Seconds = 5.0
    max_body: v.Count = 65_536
    max_in_flight: v.Count = 1000
    max_connections: v.Count = 1000
    max_connections_each: v.CountOrZero = 500
    keep_alive: v.Seconds = 75.0
    one_core: bool = True


class SubmitSettings(Section):
    """The HTTP endpoint for commands, which is off without a port."""

    host: v.Host = "127.0.0.1"
    port: Annotated[v.Port | None, v.NONE_IF_EMPTY] = None
    authorization: Annotated[tuple[v.HeaderSecret, ...], v.STRICT_LIST] = ()
    tls_certificate: v.FilePath = None
    tls_key: v.FilePath = None
    confirm_timeout: v.Seconds = 5.0
    max_in_flight: v.Count = 200
    max_connections: v.Count = 200
    keep_alive: v.Seconds = 75.0


class CatchUpSettings(Section):
    """The backfill of inbound messages from the provider's history."""

    at_start: bool = False
    interval: v.SecondsOrZero = 0.0
    lookback: v.SecondsOrZero = 86_400.0
    overlap: v.SecondsOrZero = 3600.0

    @property
    def configured(self) -> bool:
        """Whether the ingest runs the backfill."""
        return self.at_start or self.interval > 0


class ReceiptSettings(Section):
    """The polling of delivery receipts."""

    poll: bool = False
    first: v.Seconds = _RECEIPTS.first
    max_age: v.Seconds = _RECEIPTS.max_age
    per_second: v.PerSecond = 5.0


class AdminSettings(Section):
    """The HTTP endpoint for health and metrics."""

    host: v.Host = "127.0.0.1"
    port: Annotated[v.Port | None, v.NONE_IF_EMPTY] = None

    @property
    def worker_port(self) -> int:
        """The port of a worker, or of `bridge up`."""
        return WORKER_ADMIN_PORT if self.port is None else self.port

    @property
    def ingest_port(self) -> int:
        """The port of an ingest. Its default is not the worker's, so that both run on one machine."""
        return INGEST_ADMIN_PORT if self.port is None else self.port


class EventSettings(Section):
    """The format of events."""

    camel_case: bool = False


class LogSettings(Section):
    """The format and level of the log."""

    format: Annotated[
        Annotated[Literal["json", "console"], v.LOWER] | None,
        v.NONE_IF_EMPTY,
    ] = None
    level: Annotated[Literal["debug", "info", "warning", "error"], v.LOWER] = "info"


class TracingSettings(Section):
    """The endpoint for spans, and the share of traces."""

    endpoint: v.HttpUrl = None
    ratio: v.Share = 1.0
