"""The installation's names and limits, where they differ from the defaults of the bridge."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bridge.adapters.amqp.connection import BrokerAddress
from bridge.client.arguments import broker_name, count, expect, seconds, wrong_type

#: A country of ISO 3166-1, as `addresses.default_region` has it.
_REGION = re.compile("[A-Z]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Names and limits of an installation, named as in its configuration. Times are in seconds."""

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

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            TypeError, ValueError: a field has a wrong type or an impossible value.

        """
        broker_name("prefix", self.prefix)
        for name in ("commands_exchange", "events_exchange"):
            if getattr(self, name) is not None:
                broker_name(name, getattr(self, name))
        count("max_destinations", self.max_destinations)
        if self.default_region is not None:
            expect("default_region", self.default_region, str, "a str")
            if not _REGION.fullmatch(self.default_region):
                raise ValueError("default_region must be two capital letters (ISO 3166-1), such as CA")
        seconds("connect_timeout", self.connect_timeout)
        seconds("heartbeat", self.heartbeat, zero=True)
        expect("name", self.name, str, "a str")

    @property
    def commands(self) -> str:
        """The exchange for commands."""
        return self.commands_exchange or f"{self.prefix}.commands"

    @property
    def events(self) -> str:
        """The exchange of events."""
        return self.events_exchange or f"{self.prefix}.events"

    def address(self, url: str) -> BrokerAddress:
        """Return where the broker is.

        Raises:
            TypeError: the URL is no string.

        """
        expect("url", url, str, "a str such as amqp://user:password@host:5672/%2f")
        return BrokerAddress(url=url, connect_timeout=self.connect_timeout, heartbeat=self.heartbeat)


def checked_options(options: object) -> Options:
    """Return the options of a client, the defaults for None.

    Raises:
        TypeError: they are no Options.

    """
    if options is None:
        return Options()
    if not isinstance(options, Options):
        raise wrong_type("options", options, "an Options")
    return options
