"""The installation's names and limits, where they differ from the defaults of the bridge."""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import PathLike, fspath
from typing import TYPE_CHECKING

from bridge.adapters.amqp.handshake import BrokerAddress
from bridge.adapters.amqp.tls import TlsFileUnusable, check_files
from bridge.client.arguments import broker_name, count, expect, seconds, wrong_type
from bridge.client.errors import ConfigurationError
from bridge.domain.broker_parameters import BadBrokerUrl, TlsFiles
from bridge.domain.broker_url import read_broker_urls, split_urls
from bridge.domain.names import Names

if TYPE_CHECKING:
    from collections.abc import Sequence

_URL = "a str such as amqp://user:password@host:5672/%2f"
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
    #: `broker.ca_file`: certificates to trust in place of the system's, for `amqps://`. This and the next two: PEM.
    ca_file: str | PathLike[str] | None = None
    #: `broker.certificate` and `broker.key`: the certificate of the client; without `key` one file holds both.
    certificate: str | PathLike[str] | None = None
    key: str | PathLike[str] | None = None
    connect_timeout: float = 5.0
    heartbeat: float = 30.0
    #: The name of the connection in the broker's tools.
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
        for name in ("ca_file", "certificate", "key"):
            if getattr(self, name) is not None:
                expect(name, getattr(self, name), (str, PathLike), "a path")
        seconds("connect_timeout", self.connect_timeout)
        seconds("heartbeat", self.heartbeat, zero=True)
        expect("name", self.name, str, "a str")

    @property
    def commands(self) -> str:
        """The exchange for commands."""
        return self.commands_exchange or Names(prefix=self.prefix).commands_exchange

    @property
    def events(self) -> str:
        """The exchange of events."""
        return self.events_exchange or Names(prefix=self.prefix).events_exchange

    def address(self, url: str | Sequence[str]) -> BrokerAddress:
        """Return where the broker is.

        Raises:
            TypeError: the URL is neither a string nor a list of strings.
            ConfigurationError: the URL, or a file for TLS, can't be used.

        """
        files = TlsFiles(
            ca_file=_text(self.ca_file), certificate=_text(self.certificate), key=_text(self.key)
        )
        try:
            nodes = read_broker_urls(_urls(url) or [""], files)
        except BadBrokerUrl as e:
            # "URL 2 of 3" is how it begins where there are several.
            said = str(e)
            raise ConfigurationError(
                f"the broker's {said if said.startswith('URL ') else f'URL {said}'}"
            ) from None
        try:
            check_files(nodes)
        except TlsFileUnusable as e:
            raise ConfigurationError(f"the file of {e.part} {e}") from e
        return BrokerAddress(nodes=nodes, connect_timeout=self.connect_timeout, heartbeat=self.heartbeat)


def _urls(url: str | Sequence[str]) -> Sequence[str]:
    if isinstance(url, str):
        return split_urls(url)
    expect("url", url, (list, tuple), f"{_URL}, or a list of them")
    for position, one in enumerate(url):
        expect(f"url[{position}]", one, str, _URL)
    return url


def _text(path: str | PathLike[str] | None) -> str | None:
    return None if path is None else fspath(path)


def checked_options(options: object) -> Options:
    """Return the options of a client, the defaults for None.

    Raises:
        TypeError: they are not Options.

    """
    if options is None:
        return Options()
    if not isinstance(options, Options):
        raise wrong_type("options", options, "an Options")
    return options
