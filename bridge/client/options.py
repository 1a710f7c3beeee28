"""What a client is told of the installation, where that is not as the bridge comes."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.adapters.amqp.connection import BrokerAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What differs between installations, named as in the bridge's configuration. Times are in seconds."""

    #: `broker.prefix`; it begins the names that follow.
    prefix: str = "sms"
    #: `broker.commands_exchange`, where it is not `<prefix>.commands`.
    commands_exchange: str | None = None
    #: `broker.events_exchange`, where it is not `<prefix>.events`.
    events_exchange: str | None = None
    #: `commands.max_destinations`.
    max_destinations: int = 100
    #: `addresses.default_region`.
    default_region: str | None = None
    connect_timeout: float = 5.0
    heartbeat: float = 30.0
    #: What the broker's own tools call the connection.
    name: str = "sms-bridge client"

    @property
    def commands(self) -> str:
        """The exchange for commands."""
        return self.commands_exchange or f"{self.prefix}.commands"

    @property
    def events(self) -> str:
        """The exchange of events."""
        return self.events_exchange or f"{self.prefix}.events"

    def address(self, url: str) -> BrokerAddress:
        """Return where the broker is."""
        return BrokerAddress(url=url, connect_timeout=self.connect_timeout, heartbeat=self.heartbeat)
