"""What a configuration needs of the machine it is for: the files that it names, and the extras."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.adapters.http.tls import CertificateUnusable, server_context
from bridge.adapters.store import check_url
from bridge.bootstrap.tracing import tracer_class
from bridge.ports import LedgerUnusable
from bridge.settings import Problem, SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bridge.settings import Settings


def unusable_here(settings: Settings, processes: Collection[str] = ("worker", "ingest")) -> Iterator[Problem]:
    """Find what would end `processes` with exit 78 on this machine. Nothing is connected to."""
    try:
        check_url(settings.ledger.url.get_secret_value())
    except LedgerUnusable as error:
        yield Problem("ledger.url", str(error))
    if settings.tracing.endpoint is not None:
        try:
            tracer_class()
        except SettingsError as error:
            yield from error.problems
    if settings.cpaas.ca_file is not None and not settings.cpaas.ca_file.is_file():
        yield Problem("cpaas.ca_file", "is not there: name the file with the provider's CA, or none")
    doors = (("ingest", settings.ingest), ("submit", settings.submit)) if "ingest" in processes else ()
    for section, where in doors:
        if where.tls_certificate is not None:
            try:
                server_context(where.tls_certificate, where.tls_key)
            except CertificateUnusable as error:
                yield Problem(f"{section}.tls_{error.part}", str(error))
