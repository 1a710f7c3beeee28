"""Factory of the tracer and of the spans, from the settings."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from bridge.domain.contracts.commands import SEND
from bridge.ops.spans import CommandTracing, SubmitTracing, WebhookTracing
from bridge.settings import SettingProblem, SettingsError

if TYPE_CHECKING:
    from bridge.adapters.opentelemetry import OtlpTracer
    from bridge.ports import Clock, Tracer
    from bridge.settings import Settings


def make_tracer(settings: Settings, clock: Clock) -> OtlpTracer | None:
    """Return the tracer, which exports spans; None if no collector is configured.

    Raises:
        SettingsError: a collector is configured, and OpenTelemetry is not installed.

    """
    tracing = settings.tracing
    if tracing.endpoint is None:
        return None
    return tracer_class()(
        tracing.endpoint.get_secret_value(),
        ratio=tracing.ratio,
        version=version("sms-bridge"),
        monotonic=clock.monotonic,
    )


def tracer_class() -> type[OtlpTracer]:
    """Return the class of the tracer.

    Raises:
        SettingsError: OpenTelemetry is not installed.

    """
    try:
        # Not at the top: it is an extra, and slow to import.
        from bridge.adapters.opentelemetry import OtlpTracer
    except ImportError as e:
        reason = f"needs OpenTelemetry ({e.name}): install the bridge with its extra otel (docs/configure.md)"
        raise SettingsError([SettingProblem("tracing.endpoint", reason)]) from e
    return OtlpTracer


def command_tracing(settings: Settings, tracer: Tracer | None) -> CommandTracing | None:
    """Return a worker's spans."""
    broker = settings.broker
    return (
        None
        if tracer is None
        else CommandTracing(
            tracer,
            commands=f"{broker.commands_exchange}:{SEND}",
            events_exchange=str(broker.events_exchange),
        )
    )


def webhook_tracing(settings: Settings, tracer: Tracer | None) -> WebhookTracing | None:
    """Return an ingest's spans."""
    events = str(settings.broker.events_exchange)
    return (
        None if tracer is None else WebhookTracing(tracer, path=settings.ingest.path, events_exchange=events)
    )


def submit_tracing(tracer: Tracer | None) -> SubmitTracing | None:
    """Return the spans of an ingest's command API."""
    return None if tracer is None else SubmitTracing(tracer)
