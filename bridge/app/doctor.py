"""Checks of `bridge doctor`. They send, consume and change nothing."""

from __future__ import annotations

import threading
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from bridge.adapters.amqp.inspection import Rights, inspect
from bridge.adapters.amqp.one_shot import OneShot
from bridge.adapters.clock import SystemClock
from bridge.adapters.files import reachable_limit
from bridge.adapters.reachability import PortClosed, Reached, reach
from bridge.app import parts
from bridge.app import running_processes as running
from bridge.app.doctor_broker import check_addresses
from bridge.app.doctor_records import PERMISSIONS, check_disk_space, check_ledger, check_spool
from bridge.app.environment import unusable_here
from bridge.app.files import files_needed
from bridge.app.log import configure_log
from bridge.app.members import examine_members
from bridge.domain.masks import mask_number
from bridge.ops.examination import Check, CheckResult, examine, fail, ok, skipped, warn

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bridge.adapters.amqp.inspection import Inspection
    from bridge.adapters.amqp.topology import Topology
    from bridge.adapters.cpaas.client import CpaasClient
    from bridge.ops.examination import CheckReport
    from bridge.settings import Settings

#: Seconds before its expiry from which a certificate is reported with a warning.
SOON = 14 * 86_400
#: Advice for a queue without a majority.
DOWN = (
    "start the nodes that hold the members: `rabbitmqctl list_queues --vhost VHOST name members online` names them; "
    "see docs/cluster.md"
)
#: The first series of RabbitMQ whose quorum queues have all required features (docs/internals/reliability.md).
OLDEST = (3, 10)


def examine_all(settings: Settings, processes: Collection[str]) -> Iterator[CheckReport]:
    """Yield the results, check by check; `processes` ("worker", "ingest") are those that use these settings."""
    # On stderr: stdout has the output for programs.
    configure_log(settings)
    return examine(
        [
            Check(
                name="files",
                check=partial(_files, settings, processes),
                advice="see the settings that name files",
            ),
            Check(
                name="broker",
                check=partial(_broker, settings, processes),
                advice="see broker.url, and the broker's log",
            ),
            Check(name="process", check=partial(running.check, settings, processes), advice="see admin.port"),
            Check(
                name="topology",
                check=partial(_topology, settings),
                advice="see `bridge topology check`, with the permissions of docs/security.md",
            ),
            Check(
                name="ledger",
                check=partial(check_ledger, settings, processes),
                advice="check ledger.url; `bridge ledger migrate` creates a ledger",
            ),
            Check(name="spool", check=partial(check_spool, settings), advice="see ingest.spool"),
            Check(
                name="disk",
                check=partial(check_disk_space, settings),
                advice="see ledger.url and ingest.spool",
            ),
            Check(
                name="account",
                check=partial(_account, settings),
                advice="check the settings in [cpaas]; see Sending stopped in docs/operations.md",
            ),
            Check(
                name="subscriptions",
                check=partial(_subscriptions, settings),
                advice="see `bridge subscriptions sync --dry-run`",
            ),
            Check(
                name="webhook",
                check=partial(_webhook, settings),
                advice="see subscriptions.webhook_url, and the proxy before the ingest",
            ),
        ]
    )


def _files(settings: Settings, processes: Collection[str]) -> Iterator[CheckResult]:
    unusable = list(unusable_here(settings, processes))
    for problem in unusable:
        yield fail(problem.reason, f"see {problem.path}")
    if not unusable:
        yield ok("certificates, keys and drivers of the configuration are present")
    limit = reachable_limit()
    if "ingest" in processes and limit is not None and limit < (needed := files_needed(settings)):
        yield warn(
            f"a process may open {limit} files here, and ingest.max_connections needs {needed}",
            "raise LimitNOFILE or `ulimit -Hn` of the ingest, or lower ingest.max_connections",
        )


def _broker(settings: Settings, processes: Collection[str]) -> Iterator[CheckResult]:
    if settings.broker.url is None:
        yield skipped("broker.url is not set")
        return
    topology = parts.topology(settings)
    address = yield from check_addresses(settings)
    found = inspect(address, topology, _permissions(settings, topology, processes))
    yield _of_version(found.product, found.version)
    if found.blocked:
        yield fail(
            "it accepts no messages: an alarm", "see `rabbitmqctl alarms`: memory or disk of its machine"
        )
    for queue in found.unreadable:
        yield fail(f"this user may not read {queue}", PERMISSIONS)
    for exchange in found.unwritable:
        yield fail(f"this user may not write to {exchange or 'amq.default'}", PERMISSIONS)
    yield from _queues(settings, topology, found)


def _queues(settings: Settings, topology: Topology, found: Inspection) -> Iterator[CheckResult]:
    if found.down:
        yield fail(f"{', '.join(found.down)}: no majority of the queue's members is online", DOWN)
    depths = {queue: depth for queue, depth in found.depths.items() if queue not in found.down}
    if found.consumers == 0 and topology.command_queue in depths:
        yield running.no_consumer(settings, depths[topology.command_queue])
    for queue, depth in depths.items():
        if queue == topology.dead_queue and depth:
            yield warn(f"{depth} dead letters wait", "see `bridge dead list`")
        else:
            yield ok(f"{queue}: {depth} messages wait")


def _permissions(settings: Settings, topology: Topology, processes: Collection[str]) -> Rights:
    """Return the permissions that the processes need at the broker (docs/security.md)."""
    writes, reads = [topology.events_exchange, ""], []
    if "worker" in processes:
        delay, _ = topology.delayed(topology.command_queue, 1)
        writes.append(delay)
        reads += [topology.command_queue, topology.given_up_queue]
    if "ingest" in processes and settings.submit.port is not None:
        writes.append(topology.commands_exchange)
    return Rights(writes=writes, reads=reads)


def _of_version(product: str, version: str) -> CheckResult:
    digits = [part for part in version.split(".") if part.isdigit()]
    if product == "RabbitMQ" and tuple(map(int, digits[:2])) >= OLDEST:
        return ok(f"{product} {version}")
    wanted = ".".join(map(str, OLDEST))
    return warn(f"{product} {version}", f"RabbitMQ {wanted} and later is what the bridge is tested with")


def _topology(settings: Settings) -> Iterator[CheckResult]:
    if settings.broker.url is None:
        yield skipped("broker.url is not set")
        return
    one_shot = OneShot(parts.broker_address(settings), parts.topology(settings), SystemClock())
    differences = one_shot.differences()
    who = (
        "the first worker or ingest declares it"
        if settings.broker.declare
        else "run `bridge topology declare` as a user with the permission"
    )
    for difference in differences:
        is_missing = difference.endswith("is missing")
        yield (
            warn(difference, who)
            if is_missing
            else fail(difference, "delete it if it is not needed, or configure another name")
        )
    if not differences:
        yield ok("exchanges and queues are as configured")
    yield from examine_members(settings)


def _account(settings: Settings) -> Iterator[CheckResult]:
    if not settings.cpaas.configured:
        yield skipped("no account is configured")
        return
    with closing(_client(settings)) as client:
        client.probe()
        yield ok("the API accepts the credentials")
        if client.is_in_time:
            yield ok("this machine's clock and the provider's agree")
        else:
            yield fail(
                "this machine's clock and the provider's differ",
                "correct it with NTP: nothing is sent until then",
            )
        yield from _numbers(settings, client.numbers)


def _numbers(settings: Settings, numbers: Collection[str] | None) -> Iterator[CheckResult]:
    """Report configured numbers that the account does not have."""
    used = {
        f"subscriptions.numbers, {mask_number(number)}": number for number in settings.subscriptions.numbers
    }
    if settings.cpaas.default_sender is not None:
        used["cpaas.default_sender"] = settings.cpaas.default_sender
    if not used:
        return
    if numbers is None:
        yield skipped("the account does not say which numbers it has")
        return
    # The account writes numbers with or without the plus.
    had = {number.removeprefix("+") for number in numbers}
    foreign = [where for where, number in used.items() if number.removeprefix("+") not in had]
    for where in foreign:
        yield warn(
            f"{where}: not a number of the account",
            "assign it to the account's project, or configure another",
        )
    if not foreign:
        yield ok(f"the account has the numbers in its configuration, {len(used)}")


def _subscriptions(settings: Settings) -> Iterator[CheckResult]:
    from bridge.app.subscriptions import declared_subscriptions
    from bridge.domain.subscription_plan import plan
    from bridge.jobs.subscriptions import read_state

    if not settings.cpaas.configured or settings.subscriptions.webhook_url is None:
        yield skipped("subscriptions.webhook_url is not set")
        return
    declared = declared_subscriptions(settings)
    with closing(_client(settings)) as client:
        steps = plan(declared, read_state(client), prune=False)
    undone = [step for step in steps if step.action not in {"keep", "leave"}]
    for step in undone:
        yield warn(f"a {step.what} needs an action: {step.action}", "run `bridge subscriptions sync`")
    if not undone:
        yield ok(f"{len(steps)} channels and subscriptions are as configured")


def _webhook(settings: Settings) -> Iterator[CheckResult]:
    url = settings.subscriptions.webhook_url
    if url is None:
        yield skipped("subscriptions.webhook_url is not set")
        return
    reached = _reach(url.get_secret_value(), is_guarded=bool(settings.ingest.allow))
    if reached.expires_at is not None:
        days = (reached.expires_at - SystemClock().now()) / 86_400
        seen = f"its certificate is good for {days:.0f} days"
        yield (
            ok(seen)
            if days * 86_400 > SOON
            else warn(seen, "renew it before it expires: the provider would stop posting")
        )
    if reached.status == 401:
        yield ok("it is reachable, and refuses requests without authorization")
    elif reached.status == 403 and settings.ingest.allow:
        yield ok("it is reachable; this machine is not in ingest.allow, so the authorization was not checked")
    elif reached.status == 404:
        yield fail("it answers 404", "its path is not ingest.path, or a proxy leads to another server")
    elif reached.status == 400 and not settings.ingest.authorization:
        yield warn(
            "it is reachable, and accepts requests without authorization",
            "set ingest.authorization, and sync the subscriptions",
        )
    else:
        yield fail(
            f"it answers {reached.status} without authorization, where 401 is expected",
            "check that the URL leads to the ingest",
        )


def _reach(url: str, *, is_guarded: bool) -> Reached:
    """Return the webhook's answer. An ingest with `ingest.allow` closes connections of other networks."""
    try:
        return reach(url)
    except PortClosed:
        if not is_guarded:
            raise
        return Reached(status=403, expires_at=None)


def _client(settings: Settings) -> CpaasClient:
    # Only where it is used: without an account no client is needed.
    from bridge.app import command_client

    stopping = threading.Event()
    return command_client.client(command_client.account(settings), settings, SystemClock(), stopping)
