"""Lets each notification become an event once, however often and wherever it comes (SPEC section 6).

The order is the guarantee: **look, publish, answer and note.** It is noted only once it is durable, so a crash before
that costs a second event with the same id; noted any sooner, the repeat would be answered 204 and lost. The answer does
not wait for the note (docs/decisions.md).

    publish ──▶ look ──▶ publish ──▶ note and told PUBLISHED
                 │          └─ not durable ─▶ told REFUSED
                 └─ known ─────────▶ note and told REPEATED   (only those of its ids that are not)

Each step calls the next one back. A request waits for so long and no longer, but its event stays under way until its
fate is known: a confirm that comes after the 503 is noted all the same, and a repeat that comes before it waits with
the first.
"""

from __future__ import annotations

from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from bridge.concurrency.deadlines import Deadlines

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence


class Fate(Enum):
    """What became of a notification."""

    #: It is an event now: with the broker, or in the spool.
    PUBLISHED = auto()
    #: It was one already.
    REPEATED = auto()
    #: Neither, or not yet: it has to come again.
    REFUSED = auto()


#: Told what became of it, or which mistake of ours came between.
Told: TypeAlias = "Callable[[Fate | Exception], None]"
#: Makes an event durable, and calls back whether it could, once that is certain; perhaps twice, and the first counts.
Publish: TypeAlias = "Callable[[Callable[[bool], None]], None]"

#: Events under way at once.
LIMIT = 5_000


class Keeper(Protocol):
    """Who remembers: `bridge.ingest.seen_lookup.SeenKeeper`."""

    def known(self, ids: Collection[str], told: Callable[[Collection[str]], None]) -> None:
        """Call back with those of the event ids that were noted; with none where nobody can tell soon."""
        ...

    def note(self, ids: Sequence[str], also: Sequence[str] = ()) -> None:
        """Note the ids of an event that is durable: known here at once, to all others soon.

        `also` are ids for the ledger alone, which no notification is looked up by.
        """
        ...


class _Publication:
    """An event on its way."""

    __slots__ = ("also", "ids", "is_settled", "known", "publish", "waiting")

    def __init__(self, ids: Sequence[str], also: Sequence[str], publish: Publish) -> None:
        self.ids = ids
        self.also = also
        self.publish = publish
        self.known: Collection[str] = ()
        #: Whether it is certain if it is durable.
        self.is_settled = False
        self.waiting: dict[_Waiting, None] = {}


class _Waiting:
    """A request that waits for an event's fate."""

    __slots__ = ("is_first", "publication", "told")

    def __init__(self, publication: _Publication, told: Told, *, is_first: bool) -> None:
        self.publication = publication
        self.told = told
        self.is_first = is_first


class Once:
    """Used on one event loop."""

    def __init__(self, keeper: Keeper, *, limit: int = LIMIT) -> None:
        """Beyond `limit` ids under way, others are refused."""
        self._keeper = keeper
        self._limit = limit
        #: What is being published, by each id that it is known by.
        self._under_way: dict[str, _Publication] = {}
        self._deadlines: Deadlines[_Waiting] = Deadlines(self._give_up)

    def publish(
        self,
        ids: Sequence[str],
        publish: Publish,
        told: Told,
        *,
        until: float,
        also_noted: Sequence[str] = (),
    ) -> None:
        """Have `publish` make the event durable, unless it is, and call `told` once its fate is known.

        It is the same as any event that has one of its `ids`; `also_noted` are noted with them and count for nothing.
        Who comes while it is under way shares its fate. At `until`, in the event loop's time, nobody waits any longer:
        REFUSED then means that its fate is open.
        """
        publication = next((self._under_way[id_] for id_ in ids if id_ in self._under_way), None)
        is_first = publication is None
        if publication is None:
            if len(self._under_way) >= self._limit:
                told(Fate.REFUSED)
                return
            publication = _Publication(ids, also_noted, publish)
            for id_ in ids:
                self._under_way[id_] = publication
        waiting = _Waiting(publication, told, is_first=is_first)
        publication.waiting[waiting] = None
        self._deadlines.set(waiting, until)
        if is_first:
            self._do(publication, self._look)

    def _give_up(self, waiting: _Waiting) -> None:
        del waiting.publication.waiting[waiting]
        waiting.told(Fate.REFUSED)

    def _do(self, publication: _Publication, step: Callable[..., None], *found: Any) -> None:
        """Take one step; where that breaks, the event is under way no longer and may come again."""
        try:
            step(publication, *found)
        except Exception as mistake:  # noqa: BLE001 - it is handed on
            self._end(publication, mistake)

    def _look(self, publication: _Publication) -> None:
        self._keeper.known(publication.ids, partial(self._do, publication, self._looked))

    def _looked(self, publication: _Publication, known: Collection[str]) -> None:
        publication.known = known
        if known:
            self._note(publication)
        else:
            publication.publish(partial(self._do, publication, self._published))

    def _published(self, publication: _Publication, durable: bool) -> None:  # noqa: FBT001 - as it is called back
        if publication.is_settled:
            return
        publication.is_settled = True
        if durable:
            self._note(publication)
        else:
            self._end(publication, Fate.REFUSED)

    def _note(self, publication: _Publication) -> None:
        # A repeat may be known by one of its ids and come by another the next time.
        unknown = [id_ for id_ in publication.ids if id_ not in publication.known]
        if unknown:
            self._keeper.note(unknown, publication.also)
        self._end(publication, Fate.REPEATED if publication.known else Fate.PUBLISHED)

    def _end(self, publication: _Publication, fate: Fate | Exception) -> None:
        for id_ in publication.ids:
            self._under_way.pop(id_, None)
        waiting, publication.waiting = publication.waiting, {}
        for each in waiting:
            self._deadlines.clear(each)
            each.told(Fate.REPEATED if fate is Fate.PUBLISHED and not each.is_first else fate)
