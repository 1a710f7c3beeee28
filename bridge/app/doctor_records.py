"""The checks of `bridge doctor` on the ledger and the spool."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.adapters.amqp.inspection import Noted, compare_ledger
from bridge.adapters.permissions import others_can_write
from bridge.adapters.spool import quarantined_in
from bridge.adapters.store import read_ledger
from bridge.app import parts
from bridge.domain.ledger_url import SqliteFile, read_ledger_url
from bridge.ops.examination import CheckResult, fail, ok, skipped, warn

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bridge.adapters.store.reader import Summary
    from bridge.adapters.store.replication import Replication
    from bridge.adapters.store.sessions import DatabaseServer
    from bridge.domain.lineage import Lineage
    from bridge.settings import Settings

#: Bytes of disk space that ledger and spool should have.
CAPACITY = 1_000_000_000
#: Advice if the broker's user lacks a permission.
PERMISSIONS = "give it the permissions of docs/security.md"


def check_ledger(settings: Settings, processes: Collection[str]) -> Iterator[CheckResult]:
    """Report the ledger's content, its database, and whether it is bound to the command queue."""
    with closing(read_ledger(settings.ledger.url.get_secret_value())) as reader:
        missing = reader.missing_permissions()
        if missing:
            yield fail(f"this user may not: {', '.join(missing)}", "see PostgreSQL in docs/configure.md")
            return
        server, summary = reader.server(), reader.summary()
    if server is not None:
        yield from _database(server, summary.lineage)
    yield ok(f"{summary.commands} commands, revision {summary.revision}")
    if settings.broker.url is not None and summary.identity is not None:
        yield _whose(settings, processes, summary)


def _database(server: DatabaseServer, lineage: Lineage | None) -> Iterator[CheckResult]:
    """Report the server behind the connection to the ledger's database."""
    how = "through a connection pooler: nothing is prepared" if server.is_pooled else "directly"
    yield ok(f"PostgreSQL {server.version}, connected {how}")
    if not server.is_verified:
        seen = "is not verified" if server.is_encrypted else "is not encrypted"
        yield warn(f"the connection to it {seen}", "set sslmode=verify-full and sslrootcert in ledger.url")
    yield from _standbys(server.replication)
    if lineage is None:
        yield warn(
            "its timeline can't be read: after a failover an old primary would not be recognized",
            "GRANT EXECUTE ON FUNCTION pg_control_system(), pg_current_wal_lsn(), pg_walfile_name(pg_lsn) to the user",
        )


def _standbys(found: Replication) -> Iterator[CheckResult]:
    """Report whether a commit waits for a standby, and whether that standby is missing."""
    if found.connected and not found.needed:
        yield warn(
            f"a failover may lose the last commits: no commit waits for one of the {found.connected} standbys",
            "set synchronous_standby_names = 'ANY 1 (...)' on the server, with the standbys' application_names",
        )
    if found.is_stuck:
        wanted = "a standby" if found.needed == 1 else f"{found.needed} standbys"
        there = "none of them replicates" if not found.confirming else f"only {found.confirming} replicate"
        yield fail(
            f"every commit waits for {wanted}: synchronous_standby_names is set, and {there}",
            "start a standby or correct its application_name; on the primary, SELECT wait_event FROM pg_stat_activity "
            "shows SyncRep",
        )


def _whose(settings: Settings, processes: Collection[str], summary: Summary) -> CheckResult:
    """Report whether the ledger is bound to the command queue, and whether it is the current copy."""
    address, topology = parts.broker_address(settings), parts.topology(settings)
    try:
        noted = compare_ledger(address, topology, summary.identity or "", summary.lineage, summary.remembered)
    except ConnectionError:
        return skipped("whether it is the command queue's own: the broker can't be asked")
    match noted:
        case Noted.NONE:
            return ok("the command queue has no ledger yet: the first worker notes its own")
        case Noted.OURS:
            return ok("it is the command queue's own")
        case Noted.OUTDATED:
            advice = (
                "stop that server or make it a standby, and point ledger.url to the new primary; `bridge ledger adopt` "
                "where that one is gone for good"
            )
            return fail("the database is an old primary: workers have used a newer one since", advice)
        case Noted.ANOTHERS:
            advice = (
                "set ledger.url to the queue's own; `bridge ledger adopt` where that one is gone for good"
            )
            return fail("the command queue has another ledger", advice)
        case Noted.REFUSED if "worker" in processes:
            return warn("this user may not see whether it is the command queue's own", PERMISSIONS)
        case Noted.REFUSED:
            return skipped("an ingest's user can't see whether it is the command queue's own")


def check_spool(settings: Settings) -> Iterator[CheckResult]:
    """Report spool files that were quarantined and not recovered."""
    if settings.ingest.spool is None:
        yield skipped("ingest.spool is not set")
        return
    found = quarantined_in(settings.ingest.spool)
    for path in found:
        yield fail(f"the events in {path} are not published", f"run: bridge spool recover {path}")
    if not found:
        yield ok("no damaged file waits for recovery")


def check_disk_space(settings: Settings) -> Iterator[CheckResult]:
    """Report the free disk space of ledger and spool on this machine, and directories that any user can write to."""
    named = read_ledger_url(settings.ledger.url.get_secret_value())
    places = {"the ledger": Path(named.path).parent} if isinstance(named, SqliteFile) else {}
    if settings.ingest.spool is not None:
        places["the spool"] = settings.ingest.spool
    for what, location in places.items():
        there = next((path for path in (location, *location.parents) if path.is_dir()), Path("/"))
        free = shutil.disk_usage(there).free
        seen = f"{what} has {free / 1e9:.1f} GB left"
        yield (
            ok(seen)
            if free >= CAPACITY
            else warn(seen, "free disk space: without it nothing is sent or stored")
        )
        if others_can_write(location):
            yield warn(
                f"every user of this machine can write to the directory of {what}, and replace its files",
                f"chmod o-w {location}",
            )
    if not places:
        yield skipped("neither ledger nor spool are on a disk of this machine")
