"""What the commands ask of `bridge.app`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from bridge.adapters.cpaas.history import MessageHistory
    from bridge.domain.dead_letters import DeadLetter, Wanted
    from bridge.domain.subscription_plan import Declared
    from bridge.jobs.backfill import Caught
    from bridge.ops.examination import Examined
    from bridge.ports import Notifying, Progress
    from bridge.settings import SettingProblem, Settings


class Wiring(Protocol):
    """What the commands ask of `bridge.app`.

    All raise SettingsError where the settings lack what they need, and ConnectionError where a service that a one-shot
    command needs is not reachable. The first four return an exit code, after SIGTERM too.
    """

    def run_up(self, settings: Settings) -> int:
        """Run a worker and an ingest in one process until it is stopped."""
        ...

    def run_worker(self, settings: Settings) -> int:
        """Run a worker until it is stopped."""
        ...

    def run_ingest(self, settings: Settings) -> int:
        """Run an ingest until it is stopped."""
        ...

    def run_simulator(
        self,
        settings: Settings,
        *,
        host: str,
        port: int,
        journal: Path | None,
        numbers: Sequence[str],
        external_webhooks: bool,
    ) -> int:
        """Run the simulator until it is stopped."""
        ...

    def refusals(self, settings: Settings, command: Mapping[str, object]) -> Sequence[str]:
        """Return each reason for which a worker with these settings would not send a command."""
        ...

    def send(
        self, settings: Settings, command: Mapping[str, object], wait: float | None
    ) -> Sequence[Mapping[str, Any]]:
        """Publish a command, confirmed; return the outcome events that came within `wait` seconds, if any."""
        ...

    def tail_events(
        self, settings: Settings, keys: Sequence[str], skipped: Callable[[str], None]
    ) -> Iterator[Mapping[str, Any]]:
        """Yield events as they are published, from now on, whose type matches one of the binding `keys`.

        `skipped` is called with one line for each message that is not an event.
        """
        ...

    def dead_letters(self, settings: Settings, wanted: Wanted) -> Iterator[DeadLetter]:
        """Yield the dead letters that are wanted, and leave them where they are."""
        ...

    def replay_dead(self, settings: Settings, wanted: Wanted, *, resend: bool) -> Iterator[DeadLetter]:
        """Send those that are wanted back to the commands; yield each once its letter is gone."""
        ...

    def purge_dead(self, settings: Settings, wanted: Wanted) -> Iterator[DeadLetter]:
        """Throw those that are wanted away; yield each once it is gone."""
        ...

    def declare_topology(self, settings: Settings) -> Sequence[str]:
        """Declare what is missing on the broker; return the name of everything that is there now."""
        ...

    def check_topology(self, settings: Settings) -> Sequence[str]:
        """Return what is missing on the broker or other than it should be, one line each."""
        ...

    def check_members(self, settings: Settings) -> tuple[Sequence[str], str | None]:
        """Return a line for each shortage of queues' members, and which members were not checked, or None."""
        ...

    def cpaas_client(self, settings: Settings) -> Notifying:
        """Return a client of the configured account; every call of it raises CpaasError."""
        ...

    def unusable_here(self, settings: Settings) -> Iterator[SettingProblem]:
        """Yield what of the configuration can't be used on this machine: certificates, keys, drivers."""
        ...

    def examine_all(self, settings: Settings, processes: Collection[str]) -> Iterator[Examined]:
        """Yield how everything stands that `processes` of the bridge need: "worker", "ingest"."""
        ...

    def message_history(self, settings: Settings) -> MessageHistory:
        """Return the messages that the provider keeps; every call of it raises CpaasError."""
        ...

    def declared_subscriptions(self, settings: Settings) -> Declared:
        """Return what the provider is to notify us of."""
        ...

    def run_catch_up(
        self, settings: Settings, *, since: float | None, dry_run: bool, progress: Progress
    ) -> Caught:
        """Publish what no webhook brought, since a time (seconds since the epoch) or the last catch-up."""
        ...

    def show_ledger(self, settings: Settings) -> Mapping[str, Any]:
        """Return what the ledger holds, all in all."""
        ...

    def show_command(self, settings: Settings, command_id: str) -> Mapping[str, Any] | None:
        """Return what the ledger holds of a command; None where it knows none of that id."""
        ...

    def waiting_commands(self, settings: Settings) -> int | None:
        """Return how many commands wait on the command queue; None where no broker can be asked."""
        ...

    def prune_ledger(
        self, settings: Settings, *, days: float | None, dry_run: bool, progress: Progress
    ) -> int:
        """Forget commands that ended more than `days` ago, or `ledger.retention`; return how many (would) have gone."""
        ...

    def migrate_ledger(self, settings: Settings) -> tuple[str | None, str]:
        """Bring the ledger's tables to this bridge's revision; return the one they had, None for none, and this."""
        ...

    def adopt_ledger(self, settings: Settings) -> str:
        """Make the configured ledger the command queue's own; return its identity."""
        ...
