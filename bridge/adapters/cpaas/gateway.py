"""The worker's view of the provider: sending, history lookups, and probes that send nothing."""

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
        """`history_cap` is the number of messages that the provider keeps of the account, 0 for all."""
        self._client = client
        #: Submits; see `bridge.ports.Gateway`.
        self.send: Callable[..., Attempted] = client.send
        self._clock = clock
        # Only a list that arrives in one page proves how much the account has. An account with more threads than this
        # is too full for that proof, and a larger page may exceed `cpaas.max_response_bytes`.
        self._page = min(max(PAGE, int(history_cap * NEAR_CAP) + 1), LARGEST_PAGE)

    def look_up(
        self, submission: Submission, *, window: Window | None, until: float
    ) -> HistoryExtract | None:
        """Read the history of a pair of addresses; see `bridge.ports.Gateway`.

        The whole history is read: it is not documented what `lastMessageTime` omits (wire reference 4.2), and an absent
        message must be a proof.
        """
        history, read_at = self._client.history, self._clock.now()
        try:
            extract, unknown = self._read(submission, read_at, until)
            is_late = window is None or read_at >= window.settled_at
            if (unknown and is_late) or (window is not None and needs_account_history(extract, window)):
                # Before the settle window has passed, an absent message proves nothing anyway.
                listed = history.threads(
                    enough=lambda thread: unknown.vouched and _is_idle(thread, window),
                    page=self._page,
                    until=until,
                )
                if not unknown.agrees_with(listed):
                    return None
                extract = _with_account(extract, listed, window)
        except CpaasError:
            return None
        # While the clocks differ, times do not compare: nothing is found, and nothing is proved absent.
        return extract if self._client.is_in_time else None

    def probe(self, *, until: float) -> bool:
        """Make a small call that sends nothing."""
        try:
            self._client.probe(until=until)
        except (CallRefused, Unreadable):
            # The API answers and accepts the credentials; the requested resource need not exist.
            return self._client.is_in_time
        except CpaasError:
            return False
        return self._client.is_in_time

    def _read(self, submission: Submission, read_at: float, until: float) -> tuple[HistoryExtract, _Unknown]:
        """Read one thread, or for the sender `default` all threads of the destination with numbers of ours.

        Also returns the threads that were answered with 404.
        """
        history = self._client.history
        remote, sender = submission.destination_address, submission.sender_address
        listed, locals_ = None, [sender]
        if sender == "default":
            listed = history.threads(remote, page=self._page, until=until)
            # A thread that moves while the list is read appears twice.
            locals_ = list(dict.fromkeys(thread.local_address for thread in listed.threads))
        threads = {local: history.messages(remote, local, until=until) for local in locals_}
        return _extract(threads, remote, listed, read_at), _unknown(threads, remote, listed)


class _Unknown:
    """The threads that were answered with 404, which any gateway also says of a path that it does not know.

    So only a list of all threads, read at the same time and without the pair, proves that a pair has no history. If the
    404 has the provider's envelope, the part of the list that is read anyway is enough; otherwise all of it is needed.
    """

    def __init__(self, remote: str, locals_: frozenset[str | None], *, vouched: bool) -> None:
        """`locals_` are the account's numbers; None for all of them."""
        self._remote = remote
        self._locals = locals_
        #: Whether each 404 had the provider's envelope.
        self.vouched = vouched

    def __bool__(self) -> bool:
        """Whether there is any such thread."""
        return bool(self._locals)

    def agrees_with(self, listed: Threads) -> bool:
        """Whether a list of all threads confirms it."""
        if not self:
            return True
        is_proof = listed.readable and (self.vouched or listed.ended)
        return is_proof and not any(map(self._is_named, listed.threads))

    def _is_named(self, thread: ProviderThread) -> bool:
        is_ours = not self._locals.isdisjoint({_plain(thread.local_address), None})
        return thread.length != 0 and _plain(thread.remote_address) == self._remote and is_ours


def _extract(
    threads: Mapping[str, ThreadMessages], remote: str, listed: Threads | None, read_at: float
) -> HistoryExtract:
    """Return the messages of the threads with `remote`; `listed` is the list of threads, if it was read."""
    messages = [message for thread in threads.values() for message in thread.messages]
    # A message without a usable date, text or destination could be the one: then the list is not complete.
    found = [_evidence(message, remote) for message in messages if message.direction != INBOUND]
    is_whole = all(thread.complete for thread in threads.values()) and None not in found
    return HistoryExtract(
        messages=tuple(message for message in found if message is not None),
        complete=is_whole and (listed is None or listed.complete),
        oldest_at=min(filter(_is_plausible, (message.at for message in messages)), default=None),
        read_at=read_at,
    )


def _unknown(threads: Mapping[str, ThreadMessages], remote: str, listed: Threads | None) -> _Unknown:
    """Return the threads, or their list, that were answered with 404."""
    if listed is not None and not listed.exists:
        return _Unknown(_plain(remote), frozenset({None}), vouched=listed.vouched)
    denied = {local: thread.vouched for local, thread in threads.items() if not thread.exists}
    return _Unknown(_plain(remote), frozenset(map(_plain, denied)), vouched=all(denied.values()))


def _plain(address: str) -> str:
    """Return the digits, which all spellings of an address have in common: ``tel:+1613`` and ``+1 613``."""
    return "".join(filter(str.isdecimal, address)) or address


def _with_account(extract: HistoryExtract, listed: Threads, window: Window | None) -> HistoryExtract:
    """Add facts from the list of all threads. It is read after the messages: a history only grows."""
    lengths = [thread.length for thread in listed.threads if thread.length is not None]
    # A list with fewer messages than this thread has shown does not cover the whole account.
    is_counted = (
        listed.complete and len(lengths) == len(listed.threads) and sum(lengths) >= len(extract.messages)
    )
    known = [
        extract.oldest_at,
        *(thread.last_message_at for thread in listed.threads if _is_idle(thread, window)),
    ]
    return replace(
        extract,
        total=sum(lengths) if is_counted else None,
        oldest_at=min((at for at in known if at is not None), default=None),
    )


def _is_idle(thread: ProviderThread, window: Window | None) -> bool:
    """Whether the thread has messages, all of them from before the window."""
    last_at = thread.last_message_at
    return window is not None and bool(thread.length) and _is_plausible(last_at) and last_at < window.start


def _is_plausible(at: float | None) -> TypeGuard[float]:
    """Whether a message's time is plausible: a missing time, or one in another unit, must not count as old."""
    return at is not None and at >= PLAUSIBLE


def _evidence(message: ProviderMessage, remote: str) -> Evidence | None:
    if message.direction != OUTBOUND or message.text is None or not _is_plausible(message.at):
        return None
    if not message.message_id.isprintable() or len(message.message_id) > MAX_ID_LENGTH:
        # Some databases can't index it (PostgreSQL: 2,700 bytes), and the provider's ids are never like that.
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
