"""The notes on the broker about the ledger of a command queue.

The notes are exchanges that nothing is published to, so that they outlive all processes.

    {prefix}.ledger                            whose ledger it is
    {prefix}.ledger.{identity}                 there as long as it is that ledger: workers ask for it while they run
    {prefix}.ledger.{identity}.{lineage}       one for each valid copy of the ledger: see `bridge.domain.lineage`

RabbitMQ refuses to declare an exchange again with other arguments than it has, in one step, so the first worker
writes its ledger's identity into an argument and all others compare. An alternate exchange need not exist, so its
name is free to say whose ledger it is. To ask whether an exchange is there needs no permission.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from amqp.exceptions import PreconditionFailed

from bridge.adapters.amqp.topology import TopologyMismatch, missing_exchanges
from bridge.domain.lineage import before, judge, later_than

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.adapters.amqp.connection import Broker
    from bridge.adapters.amqp.topology import Topology
    from bridge.domain.lineage import Comparison, Lineage, Remembered

#: How the broker names the ledger that is noted; cut off where the names are long (a reply has 255 bytes at most).
_CURRENT = re.compile(r"current is '[^']*\.ledger\.([a-z]+)'")


class LedgerMismatch(TopologyMismatch):
    """The command queue has another ledger than this worker, or a later copy of it; the message says what to do."""

    #: The identity of the other ledger, as far as known.
    noted: str | None = None


class Notes:
    """The notes of one ledger on the broker."""

    def __init__(self, broker: Broker, topology: Topology, identity: str) -> None:
        self._broker = broker
        self._topology = topology
        self._identity = identity
        #: The exchange that says whose ledger the command queue has, and the one that is there as long as it is this.
        self.exchange = f"{topology.prefix}.ledger"
        self.named = f"{self.exchange}.{identity}"

    def is_known(self) -> bool:
        """Return whether any ledger is noted."""
        return self._is_there(self.exchange)

    def has(self, lineage: Lineage) -> bool:
        """Return whether a lineage of this ledger is valid."""
        return self._is_there(self.identity_of(lineage))

    def judge(
        self, own: Lineage | None, remembered: Remembered | None, *, is_known: bool = True
    ) -> Comparison:
        """Return what this copy of the ledger is, by the marks that are there."""
        # Before the look at its own mark: another worker makes that one first, and then removes those of before.
        is_before_marked = is_known and self._has_any_before(own, remembered)
        return judge(
            own,
            remembered,
            is_marked=own is not None and self.has(own),
            is_known=is_known,
            # Also where its own mark is there: a worker without the right to remove it, or a crash, has left it.
            is_later_marked=own is not None and is_known and self._has_any(later_than(own)),
            is_before_marked=is_before_marked,
        )

    def identity_of(self, lineage: Lineage) -> str:
        """Return the name of its mark."""
        return f"{self.named}.{lineage}"

    def identify(self) -> None:
        """Note the ledger where none is noted.

        Raises:
            LedgerMismatch: another one is.

        """
        channel = self._broker.channel()
        try:
            channel.exchange_declare(
                self.exchange,
                "fanout",
                durable=True,
                auto_delete=False,
                arguments={"alternate-exchange": self.named},
            )
        except PreconditionFailed as e:
            current = _CURRENT.search(e.reply_text)
            theirs = f"the ledger {current[1]}" if current else "another ledger"
            mismatch = LedgerMismatch(
                f"the queue {self._topology.command_queue} has {theirs}, and this process has {self._identity}: "
                "set ledger.url to the right one; if that one is gone for good, stop all workers and run "
                "`bridge ledger adopt`"
            )
            mismatch.noted = current[1] if current else None
            raise mismatch from e
        channel.close()

    def replace(self) -> str | None:
        """Note the ledger in place of another one; return that one's identity, as far as known.

        Raises:
            LedgerMismatch: a worker was quicker and has noted that one again.

        """
        try:
            self.identify()
        except LedgerMismatch as e:
            self._delete([self.exchange])
            self.identify()
            return e.noted
        return None

    def name(self) -> None:
        """Make the exchange that workers of this ledger ask for, which is noted.

        Raises:
            LedgerMismatch: another one was adopted meanwhile.

        """
        if not self._is_there(self.named):
            self._make(self.named)
            try:
                self.identify()
            except LedgerMismatch:
                self.unname()
                raise

    def unname(self) -> None:
        """Delete that exchange, so that workers of this ledger compare it again."""
        self._delete([self.named])

    def identity(self, lineage: Lineage) -> None:
        """Note that a lineage is valid."""
        self._make(self.identity_of(lineage))

    def remove(self, lineages: Iterable[Lineage]) -> None:
        """Note that lineages are valid no longer. It is no error where one is not marked."""
        self._delete(map(self.identity_of, lineages))

    def _make(self, exchange: str) -> None:
        channel = self._broker.channel()
        channel.exchange_declare(exchange, "fanout", durable=True, auto_delete=False)
        channel.close()

    def _delete(self, exchanges: Iterable[str]) -> None:
        channel = self._broker.channel()
        for exchange in exchanges:
            channel.exchange_delete(exchange)
        channel.close()

    def _has_any(self, lineages: Iterable[Lineage]) -> bool:
        """Return whether one of several is valid."""
        identities = [self.identity_of(lineage) for lineage in lineages]
        return len(missing_exchanges(self._broker, identities)) < len(identities)

    def _has_any_before(self, own: Lineage | None, remembered: Remembered | None) -> bool:
        """Return whether a lineage before its own is valid; false without a look where its own must be marked."""
        if own is None or remembered is None or (own == remembered.lineage and remembered.is_marked):
            return False
        return self._has_any(before(own, remembered))

    def _is_there(self, exchange: str) -> bool:
        return not missing_exchanges(self._broker, [exchange])
