"""The provider's message history: threads, messages and delivery statuses (wire reference 4.2 to 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.adapters.cpaas.codec import sms
from bridge.adapters.cpaas.values import (
    ThreadMessages,
    Threads,
    count_entries,
    read_messages,
    read_next,
    read_threads,
)
from bridge.domain.answers import ProviderError
from bridge.domain.provider_errors import ENVELOPES
from bridge.ports.provider_errors import NotFound, Unreachable, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.adapters.cpaas.json_api import JsonApi
    from bridge.adapters.cpaas.values import Json, ProviderMessage, ProviderThread

#: Messages or threads per page, unless the caller needs a list in one page.
PAGE = 200
#: The largest page that the provider is known to return, in entries (wire reference 4.3).
LARGEST_PAGE = 1000
#: The largest number of pages of one list.
MAX_PAGES = 50


class MessageHistory:
    """Reads and deletes the provider's messages. Every method raises `CpaasError`.

    The last exchange ends by `until`, in monotonic seconds.
    """

    def __init__(self, api: JsonApi) -> None:
        self._api = api

    def threads(
        self,
        remote: str | None = None,
        *,
        enough: Callable[[ProviderThread], bool] = lambda _: False,
        page: int = PAGE,
        until: float | None = None,
    ) -> Threads:
        """Return all threads, or those with `remote`; none if the number is unknown.

        Reading ends with the page of a thread for which `enough` is true. `page` is the number of threads per page.

        Only a list in a single page is certainly complete: a new message moves its thread in the list, and a reader of
        several pages misses it. The list of all threads exists also when it is empty: a 404 for it is `Unreachable`.
        """
        parts = ("remoteAddresses",) if remote is None else ("remoteAddresses", remote)
        try:
            pages, ended = self._read(
                parts,
                "smsThread",
                until,
                size=page,
                is_last=lambda read: any(map(enough, read_threads(read))),
            )
        except NotFound as e:
            if remote is None:
                raise Unreachable("the provider's list of threads is not found", e.error) from None
            return Threads(
                threads=(),
                ended=True,
                readable=True,
                complete=True,
                exists=False,
                vouched=_is_providers_own(e),
            )
        threads = tuple(thread for read in pages for thread in read_threads(read))
        return Threads(
            threads=threads,
            ended=ended,
            readable=_is_readable(pages, "smsThread", threads),
            complete=_is_whole(pages, "smsThread", threads, ended=ended, size=page) and len(pages) <= 1,
        )

    def messages(
        self, remote: str, local: str, *, last_message_time: int | None = None, until: float | None = None
    ) -> ThreadMessages:
        """Return the messages between `remote` and `local`; for an unknown pair none, with `exists` false.

        `last_message_time` is passed on unchanged (milliseconds in the provider's threads). It is not documented what
        the provider omits then, so an absent message proves nothing.
        """
        parts = ("remoteAddresses", remote, "localAddresses", local, "messages")
        try:
            pages, ended = self._read(parts, "smsMessage", until, last_message_time)
        except NotFound as e:
            return ThreadMessages(messages=(), complete=True, exists=False, vouched=_is_providers_own(e))
        messages = tuple(message for page in pages for message in read_messages(page, remote, local))
        return ThreadMessages(
            messages=messages, complete=_is_whole(pages, "smsMessage", messages, ended=ended)
        )

    def listed_first(
        self, remote: str, local: str, *, until: float | None = None
    ) -> tuple[ProviderMessage, ...]:
        """Return the messages between `remote` and `local` that one call lists: the first page of a long thread.

        Raises `NotFound` if the thread does not exist.
        """
        parts = ("remoteAddresses", remote, "localAddresses", local, "messages")
        pages, _ = self._read(parts, "smsMessage", until, is_last=lambda _: True)
        return tuple(message for page in pages for message in read_messages(page, remote, local))

    def message(
        self, remote: str, local: str, message_id: str, *, until: float | None = None
    ) -> ProviderMessage:
        """Return one message."""
        answer = self._api.request("GET", _message_path(remote, local, message_id), until=until)
        for message in read_messages(answer, remote, local):
            return message
        raise Unreadable("the message can't be read", ProviderError(name="http", http_status=200))

    def status(self, remote: str, local: str, message_id: str, *, until: float | None = None) -> str | None:
        """Return the message's delivery status, as the provider spells it."""
        status = self._api.request(
            "GET", _message_path(remote, local, message_id, "status"), until=until
        ).get("status")
        return status if isinstance(status, str) and status else None

    def delete_message(self, remote: str, local: str, message_id: str, *, until: float | None = None) -> None:
        """Delete one message; a missing one counts as deleted."""
        self._api.delete(_message_path(remote, local, message_id), until=until)

    def delete_thread(self, remote: str, local: str, *, until: float | None = None) -> None:
        """Delete all messages between `remote` and `local`; without messages, nothing happens."""
        path = _path("remoteAddresses", remote, "localAddresses", local)
        self._api.delete(path, until=until)

    def _read(
        self,
        parts: tuple[str, ...],
        kind: str,
        until: float | None,
        last_message_time: int | None = None,
        size: int = PAGE,
        is_last: Callable[[Json], bool] = lambda _: False,
    ) -> tuple[list[Json], bool]:
        """Return the pages of a list of `kind`, up to one that `is_last`, and whether the list ended.

        Raises:
            NotFound: the list does not exist.

        """
        pages: list[Json] = []
        pointers: list[str] = []
        while len(pages) < MAX_PAGES:
            query = {
                "max": size,
                "next": pointers[-1] if pointers else None,
                "lastMessageTime": last_message_time,
            }
            try:
                page = self._api.request("GET", _path(*parts, **query), until=until)
            except NotFound:
                if not pages:
                    raise
                return pages, False
            if f"{kind}List" not in page and kind not in page:
                raise Unreadable(
                    "the provider's answer has no list", ProviderError(name="http", http_status=200)
                )
            pages.append(page)
            pointer = read_next(page, f"{kind}List")
            if pointer is None:
                return pages, True
            if pointer in pointers or is_last(page):
                return pages, False
            pointers.append(pointer)
        return pages, False


def _is_whole(pages: list[Json], kind: str, read: Sequence[object], *, ended: bool, size: int = PAGE) -> bool:
    """Whether the pages that were `read` are the whole list: it ended, and each entry could be read."""
    return (
        ended
        and not (pages and _may_be_full(count_entries(pages[-1], kind), size))
        and _is_readable(pages, kind, read)
    )


def _may_be_full(count: int, size: int) -> bool:
    """Whether a page with `count` entries, without a pointer to the next one, may omit entries.

    A provider that returns fewer entries than the requested `size` has a lower limit: a round number.
    """
    return count >= size or (count >= PAGE and count % 100 == 0)


def _is_readable(pages: list[Json], kind: str, read: Sequence[object]) -> bool:
    return len(read) == sum(count_entries(page, kind) for page in pages)


def _is_providers_own(error: NotFound) -> bool:
    return error.error.name in ENVELOPES


def _path(*parts: str, **query: str | int | None) -> Callable[[str], str]:
    return lambda user_id: sms(user_id, *parts, **query)


def _message_path(remote: str, local: str, *rest: str) -> Callable[[str], str]:
    return _path("remoteAddresses", remote, "localAddresses", local, "messages", *rest)
