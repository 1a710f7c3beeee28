"""Threads and messages of the provider's history: the fields that the bridge reads."""

from __future__ import annotations

from typing import Protocol


class KeptThread(Protocol):
    """The messages between an own number and another one, as the provider lists them."""

    @property
    def remote_address(self) -> str: ...
    @property
    def local_address(self) -> str: ...
    @property
    def last_message_at(self) -> float | None: ...
    @property
    def length(self) -> int | None: ...


class KeptMessage(Protocol):
    """A message in the provider's history. `at` is `date_time` in seconds since the epoch, if it can be parsed."""

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
