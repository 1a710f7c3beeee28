"""Environment checks: the files that a configuration names, and the extras that it needs, on this machine."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from bridge.adapters.http.server.tls import CertificateUnusable, server_context
from bridge.adapters.permissions import others_can_write
from bridge.adapters.store import check_url
from bridge.app.parts import unusable_broker_file
from bridge.app.required import require
from bridge.app.trace_export import tracer_class
from bridge.ports import LedgerUnusable
from bridge.settings import SettingProblem, SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bridge.settings import Settings


def unusable_here(
    settings: Settings, processes: Collection[str] = ("worker", "ingest")
) -> Iterator[SettingProblem]:
    """Yield the settings that `processes` can't use on this machine. No connection is opened."""
    yield from _unusable_records(settings, processes)
    if settings.tracing.endpoint is not None:
        try:
            tracer_class()
        except SettingsError as error:
            yield from error.problems
    if settings.cpaas.ca_file is not None:
        try:
            ssl.create_default_context(cafile=settings.cpaas.ca_file)
        except OSError as error:
            yield SettingProblem(
                "cpaas.ca_file", f"can't be used as the provider's CA: {error.strerror or error}"
            )
    broker_file = unusable_broker_file(settings)
    if broker_file is not None:
        yield broker_file
    if "ingest" in processes:
        yield from _listeners(settings)


def require_records(settings: Settings, processes: Collection[str]) -> None:
    """Check that `processes` can use the configured ledger and spool. No connection is opened.

    Raises:
        SettingsError: they can't.

    """
    problems = list(_unusable_records(settings, processes))
    if problems:
        raise SettingsError(problems)


def _unusable_records(settings: Settings, processes: Collection[str]) -> Iterator[SettingProblem]:
    try:
        check_url(settings.ledger.url.get_secret_value())
    except LedgerUnusable as error:
        yield SettingProblem("ledger.url", str(error).removeprefix("ledger.url: "))
    spool = settings.ingest.spool
    if "ingest" in processes and spool is not None and others_can_write(spool):
        yield SettingProblem(
            "ingest.spool",
            f"every user of this machine can write to {spool}, and add forged events: chmod o-w it, or name a "
            "directory that the ingest creates",
        )


def _listeners(settings: Settings) -> Iterator[SettingProblem]:
    try:
        require(settings, submit=True)
    except SettingsError as error:
        yield from error.problems
    for section, where in (("ingest", settings.ingest), ("submit", settings.submit)):
        if where.tls_certificate is not None:
            try:
                server_context(where.tls_certificate, where.tls_key)
            except CertificateUnusable as error:
                yield SettingProblem(f"{section}.tls_{error.part}", str(error))
