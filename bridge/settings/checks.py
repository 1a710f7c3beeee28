"""Checks across several keys: each yields the keys at fault and the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from bridge.domain.addresses import is_region, parse_sender
from bridge.domain.broker_parameters import BadBrokerUrl
from bridge.domain.errors import InvalidAddress
from bridge.domain.hosts import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.settings.model import Settings

#: The largest share of a lease that one call may take. The worker starts no call that could end in the last tenth.
LEASE_SHARE = 0.8
#: The share for calls without a configured timeout: a send may first renew a token, a lookup may read several pages.
FITTING_SHARE = 0.5


class Disagreement(NamedTuple):
    """Keys that contradict each other: `path` is the one to report, `with_` the others that were compared."""

    path: str
    reason: str
    with_: tuple[str, ...] = ()


def disagreements(settings: Settings) -> Iterator[Disagreement]:
    """Yield all contradictions between keys that are valid by themselves."""
    yield from _incomplete_account(settings)
    yield from _call_outlasts_lease(settings)
    yield from _unauthenticated_ingest(settings)
    yield from _key_without_certificate(settings)
    yield from _files_without_encryption(settings)
    yield from _shared_authorization(settings)
    yield from _unencrypted_webhook(settings)
    yield from _invalid_addresses(settings)
    if settings.ledger.retention < settings.shortest_retention:
        yield Disagreement(
            "ledger.retention",
            "must be at least a day, and at least retry.max_age: a command that is redelivered after the ledger "
            "has deleted it is sent again",
            ("retry.max_age",),
        )
    if settings.retry.base > settings.retry.max_delay:
        yield Disagreement("retry.base", "must not be more than retry.max_delay", ("retry.max_delay",))
    if settings.receipts.first > settings.receipts.max_age:
        yield Disagreement("receipts.first", "must not be more than receipts.max_age", ("receipts.max_age",))


def _incomplete_account(settings: Settings) -> Iterator[Disagreement]:
    cpaas = settings.cpaas
    by_password = cpaas.email is not None or cpaas.password is not None
    if not (cpaas.base_url or cpaas.client_id or cpaas.client_secret or by_password):
        return
    missing = [key for key in ("base_url", "client_id") if getattr(cpaas, key) is None]
    if cpaas.client_secret is None:
        missing += [key for key in ("email", "password") if by_password and getattr(cpaas, key) is None]
        if not by_password:
            yield Disagreement(
                "cpaas.client_secret",
                "is missing, or cpaas.email and cpaas.password: set all keys of the account or none",
                ("cpaas.email", "cpaas.password"),
            )
    for key in missing:
        yield Disagreement(f"cpaas.{key}", "is missing: set all keys of the account or none")


def _call_outlasts_lease(settings: Settings) -> Iterator[Disagreement]:
    if settings.cpaas.total_timeout > LEASE_SHARE * settings.worker.lease:
        yield Disagreement(
            "worker.lease",
            f"must be at least {1 / LEASE_SHARE:g} times cpaas.total_timeout, or a call could outlast it",
            ("cpaas.total_timeout", "cpaas.connect_timeout", "cpaas.read_timeout"),
        )


def _unauthenticated_ingest(settings: Settings) -> Iterator[Disagreement]:
    if not settings.ingest.authorization and not is_loopback(settings.ingest.host):
        yield Disagreement(
            "ingest.host",
            "must be a loopback address while ingest.authorization is empty",
            ("ingest.authorization",),
        )


def _shared_authorization(settings: Settings) -> Iterator[Disagreement]:
    if not set(settings.submit.authorization).isdisjoint(settings.ingest.authorization):
        yield Disagreement(
            "submit.authorization",
            "must not contain a value of ingest.authorization: the provider knows those",
            ("ingest.authorization",),
        )


def _key_without_certificate(settings: Settings) -> Iterator[Disagreement]:
    for section, where in (("ingest", settings.ingest), ("submit", settings.submit)):
        if where.tls_key is not None and where.tls_certificate is None:
            yield Disagreement(
                f"{section}.tls_certificate",
                "is missing: a key requires a certificate",
                (f"{section}.tls_key",),
            )


def _files_without_encryption(settings: Settings) -> Iterator[Disagreement]:
    broker = settings.broker
    if broker.key is not None and broker.certificate is None:
        yield Disagreement("broker.certificate", "is missing: a key requires a certificate", ("broker.key",))
    if broker.url is not None:
        try:
            _ = broker.nodes
        except BadBrokerUrl as error:
            with_ = tuple(f"broker.{name}" for name in ("ca_file", "certificate", "key"))
            yield Disagreement("broker.url", str(error), with_)


def _invalid_addresses(settings: Settings) -> Iterator[Disagreement]:
    region, sender = settings.addresses.default_region, settings.cpaas.default_sender
    if region is not None and not is_region(region):
        yield Disagreement("addresses.default_region", "must be a known region, such as CA or DE")
    if sender is not None:
        try:
            parse_sender(sender, default_region=region)
        except InvalidAddress as error:
            # Otherwise each command without a sender would be invalid.
            yield Disagreement("cpaas.default_sender", str(error), ("addresses.default_region",))


def _unencrypted_webhook(settings: Settings) -> Iterator[Disagreement]:
    subscriptions = settings.subscriptions
    if subscriptions.webhook_url is None:
        if subscriptions.keep:
            yield Disagreement(
                "subscriptions.webhook_url",
                "is missing: subscriptions.keep requires it",
                ("subscriptions.keep",),
            )
        return
    url = urlsplit(subscriptions.webhook_url.get_secret_value())
    if url.scheme != "https" and not is_loopback(url.hostname or ""):
        yield Disagreement(
            "subscriptions.webhook_url", "must begin with https://: texts and ingest.authorization go there"
        )
