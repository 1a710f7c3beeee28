"""The provider as the worker sees it: sends, looks at what became of them, and probes that send nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeGuard

from bridge.adapters.cpaas.history import LARGEST_PAGE, PAGE
from bridge.domain.evidence import PLAUSIBLE, Evidence, HistoryExtract
from bridge.domain.match_keys import text_key
from bridge.domain.provider_errors import MAX_ID_LENGTH
from bridge.domain.reconciliation import NEAR_CAP, needs_account_history
from bridge.ports.provider_errors import CallRefused, CpaasError, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.adapters.cpaas.client import CpaasClient
    from bridge.adapters.cpaas.values import ProviderMessage, ProviderThread, ThreadMessages, Threads
    from bridge.domain.evidence import Window
    from bridge.domain.submissions import Attempted, Submission
    from bridge.ports import Clock

INBOUND = "inbound"
OUTBOUND = "outbound"


class CpaasGateway:
    """Fills the port `Gateway`."""

    def __init__(self, client: CpaasClient, clock: Clock, history_cap: int = 0) -> None:
        """`history_cap` is how many messages the provider keeps of the account, 0 for all; it has no more threads."""
        self._client = client
        #: Submits; see `bridge.ports.Gateway`.
        self.send: Callable[..., Attempted] = client.send
        self._clock = clock
        # Only a list that comes in one page proves how much the account has. An account with more threads than this is
        # too full to prove anything by their number, and a larger page may exceed `cpaas.max_response_bytes`.
        self._page = min(max(PAGE, int(history_cap * NEAR_CAP) + 1), LARGEST_PAGE)

    def look_up(
        self, submission: Submission, *, window: Window | None, until: float
    ) -> HistoryExtract | None:
        """Read the history of a pair of addresses; see `bridge.ports.Gateway`.

        The whole of it: what `lastMessageTime` leaves out is not documented (wire reference 4.2), and absence must mean
        something.
        """
        history, read_at = self._client.history, self._clock.now()
        try:
            reading, unknown = self._read(submission, read_at, until)
            is_late = window is None or read_at >= window.settled_at
            if (unknown and is_late) or (window is not None and needs_account_history(reading, window)):
                # Before the provider had its time to show it, nothing is absent anyway.
                listed = history.threads(
                    enough=lambda thread: unknown.vouched and _is_idle(thread, window),
                    page=self._page,
                    until=until,
                )
                if not unknown.agrees_with(listed):
                    return None
                reading = _with_account(reading, listed, window)
        except CpaasError:
            return None
        # By times that ours can't be compared with nothing is found, and nothing absent.
        return reading if self._client.is_in_time else None

    def probe(self, *, until: float) -> bool:
        """Ask for something small that sends nothing."""
        try:
            self._client.probe(until=until)
        except (CallRefused, Unreadable):
            # It answers, and takes our credentials; it does not have to know what was asked for.
            return self._client.is_in_time
        except CpaasError:
            return False
        return self._client.is_in_time

    def _read(self, submission: Submission, read_at: float, until: float) -> tuple[HistoryExtract, _Unknown]:
        """Read one thread, or for the `default` sender all that the destination has with numbers of ours.

        Also returns what the provider is said to know nothing of.
        """
        history = self._client.history
        remote, sender = submission.destination_address, submission.sender_address
        listed, locals_ = None, [sender]
        if sender == "default":
            listed = history.threads(remote, page=self._page, until=until)
            # A thread that moves while the list is read comes twice.
            locals_ = list(dict.fromkeys(thread.local_address for thread in listed.threads))
        threads = {local: history.messages(remote, local, until=until) for local in locals_}
        return _reading(threads, remote, listed, read_at), _unknown(threads, remote, listed)


class _Unknown:
    """What was answered with 404. Any gateway on the way says as much of a path that it does not know.

    So a pair has no history only by a list of all threads that was there at the same time and does not name it. The
    provider's own word, in its envelope, needs no more of that list than is read anyway; any other needs all of it.
    """

    def __init__(self, remote: str, locals_: frozenset[str | None], *, vouched: bool) -> None:
        """`locals_` are the account's numbers; None for all of them."""
        self._remote = remote
        self._locals = locals_
        #: Whether all of it is the provider's own word.
        self.vouched = vouched

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._locals)

    def agrees_with(self, listed: Threads) -> bool:
        """Whether a list of all threads bears it out."""
        if not self:
            return True
        is_proof = listed.readable and (self.vouched or listed.ended)
        return is_proof and not any(map(self._is_named, listed.threads))

    def _is_named(self, thread: ProviderThread) -> bool:
        is_its = not self._locals.isdisjoint({_plain(thread.local_address), None})
        return thread.length != 0 and _plain(thread.remote_address) == self._remote and is_its


def _reading(
    threads: Mapping[str, ThreadMessages], remote: str, listed: Threads | None, read_at: float
) -> HistoryExtract:
    """Return what threads with `remote` show; `listed` is the list of them, where it was read."""
    messages = [message for thread in threads.values() for message in thread.messages]
    # A message that can't be dated or read, or goes who knows where, could be the one: the list is not whole then.
    found = [_evidence(message, remote) for message in messages if message.direction != INBOUND]
    is_whole = all(thread.complete for thread in threads.values()) and None not in found
    return HistoryExtract(
        messages=tuple(message for message in found if message is not None),
        complete=is_whole and (listed is None or listed.complete),
        oldest_at=min(filter(_is_plausible, (message.at for message in messages)), default=None),
        read_at=read_at,
    )


def _unknown(threads: Mapping[str, ThreadMessages], remote: str, listed: Threads | None) -> _Unknown:
    """Return which of the threads, or whether their list, was answered with 404."""
    if listed is not None and not listed.exists:
        return _Unknown(_plain(remote), frozenset({None}), vouched=listed.vouched)
    denied = {local: thread.vouched for local, thread in threads.items() if not thread.exists}
    return _Unknown(_plain(remote), frozenset(map(_plain, denied)), vouched=all(denied.values()))


def _plain(address: str) -> str:
    """Return what an address has in common with its other spellings, ``tel:+1613`` and ``+1 613``."""
    return "".join(filter(str.isdecimal, address)) or address


def _with_account(reading: HistoryExtract, listed: Threads, window: Window | None) -> HistoryExtract:
    """Add what the list of all threads tells. It is read after the messages: a history only ever gets fuller."""
    lengths = [thread.length for thread in listed.threads if thread.length is not None]
    # A list without what this very thread has shown is none of the whole account.
    is_counted = (
        listed.complete and len(lengths) == len(listed.threads) and sum(lengths) >= len(reading.messages)
    )
    known = [
        reading.oldest_at,
        *(thread.last_message_at for thread in listed.threads if _is_idle(thread, window)),
    ]
    return replace(
        reading,
        total=sum(lengths) if is_counted else None,
        oldest_at=min((at for at in known if at is not None), default=None),
    )


def _is_idle(thread: ProviderThread, window: Window | None) -> bool:
    """Whether it has messages, and all of them are from before the window."""
    last_at = thread.last_message_at
    return window is not None and bool(thread.length) and _is_plausible(last_at) and last_at < window.start


def _is_plausible(at: float | None) -> TypeGuard[float]:
    """Whether a message can be from then; a time in another unit, or none, must not pass for an old message's."""
    return at is not None and at >= PLAUSIBLE


def _evidence(message: ProviderMessage, remote: str) -> Evidence | None:
    if message.direction != OUTBOUND or message.text is None or not _is_plausible(message.at):
        return None
    if not message.message_id.isprintable() or len(message.message_id) > MAX_ID_LENGTH:
        # Not every database takes such an id (PostgreSQL's indexes end at 2,700 bytes), and none of ours is like that.
        return None
    return Evidence(
        message_id=message.message_id,
        sender_address=message.local_address,
        destination_address=remote,
        text_key=text_key(message.text),
        text=message.text,
        sent_at=message.at,
        status=message.status,
    )
