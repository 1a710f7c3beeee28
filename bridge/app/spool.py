"""The use case of `bridge spool recover`."""

from __future__ import annotations

import threading
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from bridge.adapters.clock import SystemClock
from bridge.adapters.spool import is_linked, is_quarantined, read_damaged, rename
from bridge.app.event_publisher import event_publisher
from bridge.app.log import configure_log
from bridge.app.required import require
from bridge.domain.errors import BridgeError
from bridge.ports import unwatched

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.ports import Progress
    from bridge.settings import Settings

#: Events that are published together.
BATCH = 100


#: The ends of the names of files whose events are all published, and of those with events that can't be read.
RECOVERED, PARTLY_RECOVERED = ".recovered", ".partly-recovered"


class Recovered(NamedTuple):
    """The number of recovered events of a file."""

    #: Events that were read and published.
    published: int
    #: Upper bound of events that could not be read: some may have been deleted before the damage.
    unreadable: int
    #: The file's path now.
    file: Path


class NotRecovered(BridgeError):
    """A file is not a quarantined file of a spool, or can't be read or renamed now. It keeps its name."""


def recover_spool(settings: Settings, file: Path, *, progress: Progress = unwatched) -> Recovered:
    """Publish each event that can be read from a quarantined file of a spool, and rename that file.

    A file keeps its name until its readable events are confirmed, and for good if none can be read. A second call
    publishes nothing.

    Raises:
        SettingsError: no broker is configured.
        ConnectionError: the broker is not reachable or does not confirm; the file keeps its name.
        NotRecovered: see there.

    """
    for end in (RECOVERED, PARTLY_RECOVERED):
        done = file.with_name(file.name + end)
        if done.exists() and not file.exists():
            return Recovered(0, int(end == PARTLY_RECOVERED), done)
        if done.exists() and not is_linked(file, done):
            raise NotRecovered(f"{done} exists already: move it away first")
    if not file.exists():
        raise NotRecovered(f"there is no {file}")
    if not is_quarantined(file):
        raise NotRecovered(f"{file} is not a quarantined file of a spool (damaged-<time>.sqlite3)")
    try:
        return _recover(settings, file.resolve(), progress)
    except ConnectionError:
        raise
    except OSError as e:
        raise NotRecovered(f"{file} keeps its name: {e}") from e


def _recover(settings: Settings, file: Path, progress: Progress) -> Recovered:
    require(settings, broker=True)
    # On stderr: stdout has the output for programs.
    configure_log(settings)
    published = unreadable = 0
    stopping = threading.Event()
    with (
        event_publisher(settings, "spool recover publishes", SystemClock(), stopping.set) as publish,
        closing(read_damaged(file)) as found,
    ):
        while batch := list(islice(found, BATCH)):
            events = [event for event in batch if event is not None]
            publish(events)
            published += len(events)
            unreadable += len(batch) - len(events)
            progress(published, None)
    if unreadable and not published:
        return Recovered(published, unreadable, file)
    moved_to = file.with_name(file.name + (PARTLY_RECOVERED if unreadable else RECOVERED))
    rename(file, moved_to)
    return Recovered(published, unreadable, moved_to)
