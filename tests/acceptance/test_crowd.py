"""A thousand silent connections from elsewhere: the provider is heard, and the log stays short."""

from __future__ import annotations

import resource
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.adapters.files import raise_limit
from tests.harness.raw_http import Client
from tests.harness.waiting import wait_until
from tests.harness.webhook import Webhook, inbound, listening_port

if TYPE_CHECKING:
    from tests.conftest import StartBridge
    from tests.harness.broker_client import BrokerClient

pytestmark = [pytest.mark.broker, pytest.mark.acceptance]

SILENT = 1200
WEBHOOKS = 40
#: Ways of an ingest to meet them: its settings, and the files that it may still open.
WAYS: dict[str, tuple[dict[str, str], int | None]] = {
    "their network is not allowed": ({"BRIDGE_INGEST__ALLOW": "127.0.0.1/32"}, None),
    "any network is allowed": ({}, None),
    "with too few files": ({}, 200),
}


@pytest.mark.parametrize("way", WAYS)
def test_silent_connections_from_elsewhere_keep_no_webhook_out_and_the_log_short(
    bridge_process: StartBridge, vhost_url: str, amqp: BrokerClient, way: str
) -> None:
    raise_limit(2 * SILENT)
    settings, files = WAYS[way]
    process = bridge_process(
        "ingest", env={"BRIDGE_BROKER__URL": vhost_url, "BRIDGE_INGEST__PORT": "0", **settings}
    )
    webhook = Webhook(port=listening_port(process))
    if files is not None:
        highest = max(int(each.name) for each in Path(f"/proc/{process.pid}/fd").iterdir())
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (highest + files,) * 2)
    before = len(process.logs.splitlines())
    statuses = [webhook.post(inbound("m0")).status]
    with ExitStack() as crowd:
        for number in range(SILENT):
            crowd.enter_context(Client(webhook.port, source=f"127.1.{number % 5}.{1 + number % 250}"))
            if number % (SILENT // WEBHOOKS) == 0:
                statuses.append(webhook.post(inbound(f"m{len(statuses)}")).status)
        statuses += [webhook.post(inbound(f"m{number}")).status for number in range(len(statuses), 50)]
        alive = process.admin("/livez")[0]
    # Each webhook has a line of its own.
    lines = [line for line in process.logs.splitlines()[before:] if '"notification.accepted"' not in line]

    assert (statuses, alive) == ([204] * 50, 200)
    assert len(lines) < 10, lines
    assert len(amqp.take("test.events", 50)) == 50


@pytest.mark.executed
def test_an_ingest_raises_its_limit_of_files_and_says_where_that_is_too_low(
    bridge_process: StartBridge, vhost_url: str
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    env = {"BRIDGE_BROKER__URL": vhost_url, "BRIDGE_INGEST__PORT": "0"}
    try:
        usual = bridge_process("ingest", env=env)
        greedy = bridge_process("ingest", env={**env, "BRIDGE_INGEST__MAX_CONNECTIONS": "5000000"})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    limit, _ = resource.prlimit(usual.pid, resource.RLIMIT_NOFILE)

    assert limit > 1000 + 100
    assert "files.too_few" not in usual.logs
    wait_until(lambda: '"event": "files.too_few"' in greedy.logs)
