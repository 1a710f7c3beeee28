"""Break the bridge on purpose and see the suite fail: `make sabotage`.

Each mutant is a small replacement in a copy of the tree, with the test that is expected to catch it. A test that passes
on a mutant proves nothing, so a mutant that survives is the finding here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.faults.report import DOCUMENT
from tests.harness.documents import markdown, write

ROOT = Path(__file__).parents[2]
#: The parts of the tree that a run needs.
PARTS = ("bridge", "tests", "docs", "config", "deploy", "scripts", "pyproject.toml", "README.md", "Makefile")
#: Seconds after which a run counts as failed: a bridge that hangs is caught, too.
LIMIT = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One mistake, and who notices it."""

    name: str
    file: str
    old: str
    new: str
    caught_by: str


KILLS = "tests/faults/test_kills.py::test_no_kill_of_worker_or_broker_loses_an_sms_or_an_outcome"
POINT = "tests/faults/test_crash_points.py::test_crash_between_two_steps_costs_no_sms_and_no_outcome"
MUTANTS = (
    Mutant(
        name="M1 acknowledge before the call",
        file="bridge/worker/executor.py",
        old='                    failpoints.reach("claimed")\n',
        new="                    self.in_flight.unflushed = True\n"
        "                    self.in_flight._source.ack(branch.execution.flow.received.delivery)\n"
        '                    failpoints.reach("claimed")\n',
        caught_by=f"{POINT}[sqlite-K3, answered, not recorded]",
    ),
    Mutant(
        name="M2 acknowledge before the event's confirm",
        file="bridge/worker/delivery.py",
        old="        yield AwaitConfirms()\n",
        new="",
        caught_by="tests/faults/test_broker.py::"
        "test_command_stays_queued_through_a_crash_while_its_outcome_is_not_published",
    ),
    Mutant(
        name="M3 no ledger",
        file="bridge/domain/ledger/claim.py",
        old="submission = self._record.submissions.get(self._claim.index)",
        new="submission = None",
        caught_by=f"{POINT}[sqlite-K5, published, not acknowledged]",
    ),
    Mutant(
        name="M4 claims are not written before the call",
        file="bridge/adapters/store/ledger.py",
        old="unit_of_work.write(",
        new='all(type(c).__name__ == "Claim" for c in changes) or unit_of_work.write(',
        caught_by=f"{POINT}[sqlite-K3, answered, not recorded]",
    ),
    Mutant(
        name="M5 a timeout is retried without a history lookup",
        file="bridge/adapters/cpaas/client.py",
        old="return Ambiguous(error=error.error)",
        new="return Unsent(error=error.error)",
        caught_by=f"{KILLS}[sqlite]",
    ),
    Mutant(
        name="M6 a 500 is retried without a history lookup",
        file="bridge/domain/provider_errors.py",
        old="HTTPStatus.CONFLICT}:\n        return Ambiguous(error=error)",
        new="HTTPStatus.CONFLICT}:\n        return Unsent(error=error)",
        caught_by=f"{KILLS}[sqlite]",
    ),
    Mutant(
        name="M7 events are not mandatory",
        file="bridge/adapters/amqp/connection.py",
        old="(0, exchange, routing_key, True, False)",
        new="(0, exchange, routing_key, False, False)",
        caught_by="tests/faults/test_broker.py::test_event_without_a_bound_queue_goes_to_the_unrouted_queue_and_is_counted",
    ),
    Mutant(
        name="M8 no deadline for a confirm",
        file="bridge/adapters/amqp/confirm_channel.py",
        old="now - self.oldest_at > self.deadline",
        new="now - self.oldest_at > 1e9",
        caught_by="tests/broker/test_amqp_publisher.py::"
        "test_a_frozen_broker_is_noticed_and_its_late_confirms_are_matched",
    ),
    Mutant(
        name="M9 confirms are matched to the oldest publish",
        file="bridge/adapters/amqp/confirm_channel.py",
        old=" if multiple else [tag]",
        new=" if multiple else list(unconfirmed)[:1]",
        caught_by="tests/broker/test_amqp_publisher.py::test_a_confirm_is_that_of_its_own_message",
    ),
    Mutant(
        name="M10 random event ids",
        file="bridge/domain/events.py",
        old="text = digest.hex()",
        new="text = uuid.uuid4().hex",
        caught_by="tests/faults/test_commands.py::test_invalid_command_is_published_once_when_it_is_delivered_repeatedly",
    ),
    Mutant(
        name="M11 204 before the confirm",
        file="bridge/ingest/executor.py",
        old="partial(run.caller.call, settled), run.caller)\n",
        new="partial(run.caller.call, settled), run.caller)\n                    settled(True)\n",
        caught_by="tests/unit/test_ingest.py",
    ),
    Mutant(
        name="M12 each thread fetches a separate token",
        file="bridge/adapters/cpaas/calls.py",
        old="if self._token is not None and not self._is_current(refused):",
        new="if False:",
        caught_by="tests/faults/test_provider.py::test_storm_of_401_costs_one_token_a_wave_and_no_command",
    ),
    Mutant(
        name="M13 redirects are followed",
        file="bridge/adapters/cpaas/client.py",
        old="        except NoTime:\n            raise\n",
        new="            if exchange.status == 307:\n"
        '                __import__("requests").post('
        'exchange.headers["Location"], data=request.body, timeout=1)\n'
        "        except NoTime:\n            raise\n",
        caught_by="tests/faults/test_provider.py::test_redirect_is_not_followed_and_holds_everything",
    ),
    Mutant(
        name="M14 an error of the connection is swallowed",
        file="bridge/adapters/amqp/connection_thread.py",
        old="        return self._clock.monotonic() - since >= PROVEN\n",
        new="        self._stopping.wait()\n        return self._clock.monotonic() - since >= PROVEN\n",
        caught_by="tests/faults/test_broker.py::test_half_open_connection_is_detected_and_costs_nothing[both ways]",
    ),
    Mutant(
        name="M15 unreadable commands are acknowledged and dropped",
        file="bridge/worker/delivery.py",
        old="            yield PublishInvalid(conflict=False)\n",
        new="            pass\n",
        caught_by="tests/faults/test_commands.py::test_invalid_command_is_published_once_when_it_is_delivered_repeatedly",
    ),
    Mutant(
        name="M16 a phone number in a log line",
        file="bridge/worker/report.py",
        old="destination=mask_number(destination)",
        # Under any other key that is not a host's, the log would mask it all the same.
        new="host=destination",
        caught_by=f"{POINT}[sqlite-K5, published, not acknowledged]",
    ),
    Mutant(
        name="M17 a call may start after its lease",
        file="bridge/adapters/cpaas/calls.py",
        old="if until is not None and self._clock.monotonic() + self._longest > until:",
        new="if False:",
        caught_by="tests/faults/test_processes.py::test_worker_that_wakes_after_its_lease_starts_no_call[sqlite]",
    ),
    Mutant(
        name="M17 a worker records a response without a valid claim",
        file="bridge/domain/ledger/endings.py",
        old="            or submission.owner != self.owner\n",
        new="",
        caught_by="tests/faults/test_processes.py::"
        "test_worker_that_wakes_while_another_calls_takes_nothing_from_it[sqlite]",
    ),
    Mutant(
        name="M19 a delayed copy keeps RabbitMQ's x-death header",
        file="bridge/domain/deliveries.py",
        old='r"x-death|x-first-death-.*',
        new='r"x-first-death-.*',
        caught_by="tests/faults/test_replays.py::test_command_returns_from_the_delay_queues_after_any_number_of_passes",
    ),
    Mutant(
        name="M20 each copy of a dead letter starts a replay",
        file="bridge/domain/ledger/claim.py",
        old="if replay is not None and event is not None and event.event_id == replay.event_id:",
        new="if replay is not None and event is not None:",
        caught_by="tests/faults/test_replays.py::"
        "test_dead_letter_of_an_earlier_replay_does_not_reopen_a_submission[sqlite]",
    ),
    Mutant(
        name="M21 an altered text counts as absent",
        file="bridge/domain/reconciliation.py",
        old="unclaimed = [message for message in free if match_key_of(message) != doubt.key]",
        new="unclaimed: list[Evidence] = []",
        caught_by="tests/faults/test_lying_history.py::"
        "test_altered_text_is_recognized_or_unknown_and_never_sent_twice[sqlite-small]",
    ),
    Mutant(
        name="M22 an old primary is accepted as the ledger",
        file="bridge/adapters/store/sessions.py",
        old="Lineage.of_postgresql(int(system), int(timeline, 16))",
        new="Lineage.of_postgresql(int(system), 1)",
        caught_by="tests/acceptance/test_failover.py::"
        "test_an_old_primary_that_returns_is_refused_and_nothing_is_sent_twice",
    ),
    Mutant(
        name="M23 an id that is repeated after a restore is not looked up",
        file="bridge/domain/ledger/lost_rows.py",
        old="    if age < rules.restored_lookup:\n        return True\n",
        new="",
        caught_by="tests/acceptance/test_failover.py::"
        "test_what_a_standby_that_lagged_has_lost_is_not_sent_again",
    ),
)


def broken(mutant: Mutant, source: str) -> str:
    """Return `source` with the mistake in it.

    Raises:
        ValueError: the place is not there, or not the only one; the mutant has to follow the code.

    """
    if source.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: {mutant.file} has its place {source.count(mutant.old)} times")
    return source.replace(mutant.old, mutant.new)


def try_out(mutant: Mutant, tree: Path) -> str:
    """Run the test on a tree with the mistake in it; returns what became of it in one word or a few."""
    if _run(mutant.caught_by, tree) != "SURVIVED":
        # A test that fails on the whole tree, too, has caught nothing.
        return "its scenario fails without it"
    file = tree / mutant.file
    whole = file.read_text()
    file.write_text(broken(mutant, whole))
    try:
        return _run(mutant.caught_by, tree)
    finally:
        file.write_text(whole)


def _run(test: str, tree: Path) -> str:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", test]
    if test.startswith("tests/faults"):
        command.append("--faults")
    env = {**os.environ, "PYTHONPATH": str(tree), "FAULTS_PATIENCE": "0.5"}
    try:
        done = subprocess.run(
            command, cwd=tree, env=env, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return "caught (it hangs)"
    # 1 is "tests failed"; with any other code no test was run.
    return {0: "SURVIVED", 1: "caught"}.get(
        done.returncode, f"not run ({done.returncode}): {done.stdout[-300:]}"
    )


def main(names: list[str]) -> int:
    """Try the mutants whose name begins with one of `names`, or all; returns the exit code."""
    wanted = [mutant for mutant in MUTANTS if not names or mutant.name.split()[0] in names]
    lines = []
    with tempfile.TemporaryDirectory(prefix="bridge-sabotage-") as directory:
        tree = Path(directory)
        for part in PARTS:
            whole = ROOT / part
            if whole.is_dir():
                shutil.copytree(whole, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
            elif whole.exists():
                shutil.copy(whole, tree / part)
        for mutant in wanted:
            lines.append([mutant.name, f"`{mutant.caught_by.rpartition('/')[2]}`", try_out(mutant, tree)])
            print(" | ".join(lines[-1]), flush=True)
    table = markdown(("mutant", "scenario", "verdict"), lines)
    if not names:
        write(DOCUMENT, "sabotage", table)
    return int(any(not line[2].startswith("caught") for line in lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
