"""A network of namespaces on this machine: one switch, the host, and members that can be cut off silently.

    host (198.18.x.1) -- switch -- member 1 (198.18.x.2), member 2 (198.18.x.3) ...

A namespace ends with the process that holds it, and the interfaces in it end with it. So nothing stays when the tests
are killed: the holders' input ends then. The addresses are of RFC 2544's range, which is for tests alone.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING

from tests.harness.waiting import PORTS, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

#: RFC 2544: for tests of networks alone.
RANGE = ipaddress.ip_network("198.18.0.0/15")
#: Addresses of one network: itself, the host, five members, broadcast.
SIZE = 8
#: Holds a namespace until its input ends.
HOLDER = ("unshare", "--net", "sh", "-c", "echo; read -r _")
#: What a member does not answer: packets to it leave by an interface that nothing listens to, and packets from it are
#: dropped, since their way back is not the way that they came (`rp_filter`).
HOLE = "hole"


@cache
def allowed() -> bool:
    """Return whether this process may make network namespaces: it needs root and iproute2."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0


class Network:
    """The switch and its members. `members` and `close` may be called once each."""

    def __init__(self, number: int) -> None:
        """Make a network with so many members (five at most), all of which reach each other and the host."""
        # The lock on the port makes the addresses this process's alone.
        port = free_port()
        base = RANGE.network_address + (port - PORTS[0]) * SIZE
        self.host = str(base + 1)
        self.addresses = [str(base + 2 + index) for index in range(number)]
        self._holders = [self._hold() for _ in range(number + 1)]
        switch, *members = self._holders
        #: The host's interface to it.
        self.interface = f"bridge{port}"
        _ip(switch, "link add switch up type bridge")
        _ip(None, f"link add {self.interface} address {_mac(0)} type veth peer name host netns {switch.pid}")
        _ip(switch, "link set host master switch up")
        _ip(None, f"addr add {self.host}/29 dev {self.interface}", f"link set {self.interface} up")
        for index, member in enumerate(members, start=1):
            ours = f"address {_mac(index)} netns {member.pid}"
            _ip(switch, f"link add member{index} type veth peer name eth0 {ours}")
            _ip(switch, f"link add hole{index} up type veth peer name {HOLE} netns {member.pid}")
            _ip(switch, f"link set member{index} master switch up")
            _ip(
                member, "link set lo up", f"addr add {self.addresses[index - 1]}/29 dev eth0", "link set eth0 up",
                f"link set {HOLE} arp off", f"link set {HOLE} up", *self._neighbours(index, "eth0"),
            )  # fmt: skip
            _run(member, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter")
        _ip(None, *self._neighbours(0, self.interface))

    def inside(self, index: int) -> tuple[str, ...]:
        """Return the command that runs another one in the namespace of a member (from 0), with the same process id."""
        return _entering(self._holders[index + 1])

    def cut_off(self, index: int, *, from_host: bool) -> None:
        """Have a member (from 0) neither reach another one nor be reached by it, without an error on either side."""
        lost = self._beyond(index, from_host=from_host)
        _ip(self._holders[index + 1], *(f"route replace {address}/32 dev {HOLE}" for address in lost))

    def heal(self, index: int) -> None:
        """Undo `cut_off`."""
        _run(self._holders[index + 1], "ip", "route", "flush", "dev", HOLE)

    def close(self) -> None:
        """End the namespaces; processes inside must have ended before."""
        for holder in self._holders:
            if holder.stdin is not None:
                holder.stdin.close()
            if holder.stdout is not None:
                holder.stdout.close()
            holder.wait(timeout=10)

    def _beyond(self, index: int, *, from_host: bool) -> list[str]:
        others = [address for number, address in enumerate(self.addresses) if number != index]
        return [self.host, *others] if from_host else others

    def _neighbours(self, own: int, device: str) -> list[str]:
        """Return what makes every other one known for good: one that is cut off is then silent, not unreachable."""
        return [
            f"neigh replace {address} lladdr {_mac(number)} nud permanent dev {device}"
            for number, address in enumerate([self.host, *self.addresses])
            if number != own
        ]

    @staticmethod
    def _hold() -> subprocess.Popen[bytes]:
        holder = subprocess.Popen(
            HOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert holder.stdout is not None
        wait_until(holder.stdout.readline, what="a network namespace")
        return holder


def _mac(number: int) -> str:
    return f"02:00:00:00:00:{number + 1:02x}"


def _entering(holder: subprocess.Popen[bytes]) -> tuple[str, ...]:
    return ("nsenter", f"--net=/proc/{holder.pid}/ns/net")


def _ip(holder: subprocess.Popen[bytes] | None, *commands: str) -> None:
    """Run commands of `ip` in a namespace; None is the host's own."""
    enter = () if holder is None else _entering(holder)
    _checked([*enter, "ip", "-batch", "-"], "\n".join(commands))


def _run(holder: subprocess.Popen[bytes], *command: str) -> None:
    _checked([*_entering(holder), *command], "")


def _checked(command: Sequence[str], text: str) -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {text}: {done.stdout}{done.stderr}")
