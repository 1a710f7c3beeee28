"""A real RabbitMQ of the suite's own (`Node`), one virtual host per test, and what an operator can do to it."""

from __future__ import annotations

import contextlib
import re
from itertools import count
from typing import TYPE_CHECKING

from tests.harness.broker_configuration import ADVANCED, Site
from tests.harness.broker_node import Node
from tests.harness.rabbitmq_programs import BrokerMissing
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Virtual hosts made in one go.
POOL = 16
#: Who changes something, for the node's log.
SUITE = '<<"suite">>'


class Broker(Node):
    """One RabbitMQ node and everything a test may do to it. Times are in seconds."""

    def __init__(self, plugins: str = "", advanced: str = ADVANCED, site: Site | None = None) -> None:
        """Prepare a node as `Node` does."""
        super().__init__(plugins, advanced, site)
        self._numbers = count(1)
        self._free: list[str] = []
        self._used: list[str] = []

    # -- virtual hosts -----------------------------------------------------------------------------

    def new_vhost(self) -> str:
        """Return the name of a virtual host that nothing has touched."""
        if not self._free:
            self._refill()
        name = self._free.pop()
        self._used.append(name)
        return name

    def url(self, vhost: str, port: int | None = None) -> str:
        """Return the AMQP URL of `vhost`; with `port`, through whatever listens there (a proxy)."""
        return f"amqp://guest:guest@{self.site.address}:{port or self.port}/{vhost}"

    def empty_default_vhost(self) -> str:
        """Empty the virtual host that a broker has from the start, which examples use; return its URL."""
        self.eval(f"rabbit_vhost:delete({binary('/')}, {SUITE}), {adding('/')}, ok.")
        return self.url("%2f")

    def tls_url(self, vhost: str, host: str = "localhost", parameters: str = "") -> str:
        """Return the URL of `vhost` with TLS; the certificate of the broker is for `localhost`, not for 127.0.0.1."""
        return f"amqps://guest:guest@{host}:{self.tls_port}/{vhost}{parameters}"

    def _refill(self) -> None:
        """Drop the virtual hosts of finished tests but the newest and make new ones, in one call."""
        old, self._used = self._used[:-1], self._used[-1:]
        new = [f"t{number:03}" for _, number in zip(range(POOL), self._numbers, strict=False)]
        self.eval(
            f"[rabbit_vhost:delete(V, {SUITE}) || V <- [{', '.join(map(binary, old))}]], "
            f"{', '.join(map(adding, new))}, ok."
        )
        self._free.extend(reversed(new))

    # -- what an operator can do -------------------------------------------------------------------

    def add_user(
        self,
        vhost: str,
        name: str,
        password: str,
        *,
        configure: str = ".*",
        write: str = ".*",
        read: str = ".*",
    ) -> None:
        """Make a user with these permissions (regular expressions) in `vhost`."""
        self.eval(
            f"rabbit_auth_backend_internal:add_user({binary(name)}, {binary(password)}, {SUITE}), "
            f"{_permitting(name, vhost, configure, write, read)}, ok."
        )

    def delete_user(self, name: str) -> None:
        """Delete a user, which closes its connections."""
        self.eval(f"rabbit_auth_backend_internal:delete_user({binary(name)}, {SUITE}), ok.")

    def queues(self, vhost: str) -> list[str]:
        """Return the names of the queues, which must not hold `"`."""
        listed = f"rabbit_amqqueue:info_all({binary(vhost)}, [name])"
        found = self.eval(f"[binary_to_list(element(4, N)) || [{{name, N}}] <- {listed}].")
        return re.findall(r'"([^"]+)"', found)

    def held(self, vhost: str, queue: str) -> int:
        """Return how many messages a quorum queue has, held by consumers or not."""
        # Its leader is asked: the counts that `rabbitmqctl` shows are seconds old.
        return int(
            self.eval(
                f"{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r({binary(vhost)}, queue, {binary(queue)})), "
                "{ok, {_, M}, _} = ra:leader_query(amqqueue:get_pid(Q), fun rabbit_fifo:query_messages_total/1), M."
            )
        )

    @contextlib.contextmanager
    def without_leader(self, vhost: str, queue: str) -> Iterator[None]:
        """Have the leader of a quorum queue stand still inside the block, as one whose node is frozen."""
        leader = (
            f"{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r({binary(vhost)}, queue, {binary(queue)})), "
            "{Name, _} = amqqueue:get_pid(Q), "
        )
        self.eval(f"{leader} sys:suspend(Name).")
        try:
            yield
        finally:
            self.eval(f"{leader} sys:resume(Name).")

    def consumers(self, vhost: str, queue: str) -> int:
        """Return how many consumers the broker sees on `queue`."""
        return int(
            self.eval(
                f"length([C || C <- rabbit_amqqueue:consumers_all({binary(vhost)}), "
                f"element(4, proplists:get_value(queue_name, C)) =:= {binary(queue)}])."
            )
        )

    def connections(self, vhost: str) -> int:
        """Return how many client connections are open to `vhost`."""
        return int(self.eval(f"length({_connections(vhost)})."))

    def close_connections(self, vhost: str) -> None:
        """Close every client connection to `vhost` from the broker's side."""
        self.eval(
            f'[rabbit_networking:close_connection(P, "the test closes it") || P <- {_connections(vhost)}], ok.'
        )

    @contextlib.contextmanager
    def memory_alarm(self) -> Iterator[None]:
        """Block publishers inside the block, as a broker out of memory does."""
        self.eval("vm_memory_monitor:set_vm_memory_high_watermark(0.00001), ok.")
        try:
            wait_until(lambda: "memory" in self.eval("rabbit_alarm:get_alarms()."), what="memory alarm")
            yield
        finally:
            self.eval('vm_memory_monitor:set_vm_memory_high_watermark({absolute, "2GB"}), ok.')

    @contextlib.contextmanager
    def disk_alarm(self) -> Iterator[None]:
        """Block publishers inside the block, as a broker with a full disk does."""
        self.eval('rabbit_disk_monitor:set_disk_free_limit("100000GB"), ok.')
        try:
            wait_until(lambda: "disk" in self.eval("rabbit_alarm:get_alarms()."), what="disk alarm")
            yield
        finally:
            self.eval('rabbit_disk_monitor:set_disk_free_limit("50MB"), ok.')


def adding(vhost: str) -> str:
    """Return the Erlang that makes a virtual host in which `guest` may do everything."""
    return f"rabbit_vhost:add({binary(vhost)}, {SUITE}), {_permitting('guest', vhost, '.*', '.*', '.*')}"


def _permitting(user: str, vhost: str, *patterns: str) -> str:
    arguments = ", ".join(map(binary, (user, vhost, *patterns)))
    return f"rabbit_auth_backend_internal:set_permissions({arguments}, {SUITE})"


def _connections(vhost: str) -> str:
    """Return the Erlang for the processes of all client connections to a virtual host."""
    listed = "rabbit_networking:connection_info_all([pid, vhost])"
    return f"[P || [{{pid, P}}, {{vhost, V}}] <- {listed}, V =:= {binary(vhost)}]"


def binary(text: str) -> str:
    """Return an Erlang binary of ASCII text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'<<"{escaped}">>'


__all__ = ["Broker", "BrokerMissing"]
