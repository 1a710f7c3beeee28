"""What an ingest answers at either door, held against its contract by schemathesis, a program of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness.processes import clean_environment

if TYPE_CHECKING:
    from tests.harness.webhook import Webhook

CONTRACTS = Path(__file__).parents[2] / "docs" / "contracts"
CONTRACT = CONTRACTS / "ingest.openapi.json"
SUBMIT = CONTRACTS / "submit.openapi.json"
#: What a schema can't say of commands, so that what is good by it may be refused: that no number may come twice, that
#: the two ids are the same. And what was taken is not known at once: it waits on the queue.
UNSAID = (
    "--exclude-checks", "positive_data_acceptance,ensure_resource_availability",
    # That much is refused is no finding either.
    "--warnings", "missing_auth,missing_test_data",
)  # fmt: skip
#: What stands at the end of a report without a finding.
CLEAN = "No issues found"


def report(webhook: Webhook, directory: Path, *bounds: str, contract: Path = CONTRACT) -> tuple[int, str]:
    """Ask `webhook` all that schemathesis can think of within `bounds`; return its exit code and what it says.

    What it leaves behind stays in `directory`.
    """
    done = subprocess.run(
        [
            Path(sys.executable).with_name("st"), "run", contract, "--checks", "all", *bounds,
            "--url", f"http://127.0.0.1:{webhook.port}", "-H", f"Authorization: {webhook.authorization}",
            # One that hangs is a finding, too.
            "--request-timeout", "10", "--no-color",
        ],
        env=clean_environment(),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr
