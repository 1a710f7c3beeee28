"""The use case of `bridge spool recover`."""

from __future__ import annotations

import threading
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from bridge.adapters.clock import SystemClock
from bridge.adapters.spool import read_damaged, rename
from bridge.app.event_publisher import event_publisher
from bridge.app.log import configure_log
from bridge.app.required import require
from bridge.ports import unwatched

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.ports import Progress
    from bridge.settings import Settings

#: Events that are published together.
BATCH = 100


class Recovered(NamedTuple):
    """The number of recovered events of a file."""

    #: Events that were read and published.
    published: int
    #: Upper bound of events that could not be read: some may have been deleted before the damage.
    unreadable: int


def recover_spool(
    settings: Settings, file: Path, *, moved_to: Path, progress: Progress = unwatched
) -> Recovered:
    """Publish each event that can be read from a damaged file of a spool; then rename that to `moved_to`.

    Raises:
        SettingsError: no broker is configured.
        ConnectionError: the broker is not reachable or does not confirm; the file keeps its name.
        OSError: the file can't be read, copied or renamed.

    """
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
    rename(file, moved_to)
    return Recovered(published, unreadable)
