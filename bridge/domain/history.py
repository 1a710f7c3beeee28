"""Threads and messages of the provider's history, as far as they are read."""

from __future__ import annotations

from typing import Protocol


class KeptThread(Protocol):
    """The messages between a number of ours and another one, as the provider lists them."""

    @property
    def remote_address(self) -> str: ...
    @property
    def local_address(self) -> str: ...
    @property
    def last_message_at(self) -> float | None: ...
    @property
    def length(self) -> int | None: ...


class KeptMessage(Protocol):
    """A message as the provider keeps it. `at` is `date_time` in seconds since the epoch, where it can be told."""

    @property
    def message_id(self) -> str: ...
    @property
    def direction(self) -> str: ...
    @property
    def text(self) -> str | None: ...
    @property
    def remote_address(self) -> str: ...
    @property
    def local_address(self) -> str: ...
    @property
    def date_time(self) -> object: ...
    @property
    def at(self) -> float | None: ...
