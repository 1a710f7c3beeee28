"""The configuration of a RabbitMQ node of the suite's own: its files and its environment."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.harness.waiting import free_port

if TYPE_CHECKING:
    from tests.harness.broker_node import Node

#: Two schedulers that don't spin, distribution on the node's own address.
ERLANG = "+S 2:2 +sbwt none -kernel inet_dist_use_interface {{{address}}}"
CONFIG = """\
loopback_users.guest = {loopback_only}
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 2GB
log.file.level = warning
listeners.ssl.1 = {address}:{tls_port}
ssl_options.cacertfile = {ca}
ssl_options.certfile = {certificate}
ssl_options.keyfile = {key}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = AMQPLAIN
auth_mechanisms.3 = EXTERNAL
ssl_cert_login_from = common_name
"""
#: Lets a client certificate be a login.
PLUGINS = "rabbitmq_auth_mechanism_ssl"
#: What a queue of the delay could not hand on while the broker was killed it tries again after so many milliseconds; by
#: itself after three minutes, which is longer than tests wait (docs/internals/reliability.md).
ADVANCED = "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 5000}]}]."


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a node stands, and what it shares with the other nodes of a cluster."""

    address: str = "127.0.0.1"
    #: The command that runs another one inside the node's network namespace; empty in the host's own.
    inside: tuple[str, ...] = ()
    #: The secret that nodes of a cluster share.
    cookie: str = field(default_factory=secrets.token_hex, repr=False)
    #: Nodes find each other through the epmd of an address, which has the same port on all of them.
    epmd_port: int = field(default_factory=free_port)
    #: Lines of rabbitmq.conf besides `CONFIG`.
    config: str = ""


def write_configuration(node: Node, plugins: str, advanced: str) -> dict[str, str]:
    """Write the files of a node, and return its environment."""
    certificate, key = node.authority.issue("broker", names="DNS:localhost")
    address = node.site.address
    loopback_only = str(address.startswith("127.")).lower()
    (node.home / "rabbitmq.conf").write_text(
        CONFIG.format(
            tls_port=node.tls_port, ca=node.authority.certificate, certificate=certificate, key=key,
            address=address, loopback_only=loopback_only,
        ) + node.site.config + _of_plugins(node, plugins)
    )  # fmt: skip
    (node.home / "advanced.config").write_text(advanced)
    (node.home / "enabled_plugins").write_text(f"[{','.join(filter(None, [PLUGINS, plugins]))}].")
    cookie = node.home / ".erlang.cookie"
    cookie.write_text(node.site.cookie)
    cookie.chmod(0o600)
    own = {
        "PATH": f"{node.scripts}{os.pathsep}{os.environ.get('PATH', '')}",
        "HOME": str(node.home),
        # A long name, so that its host may be an address.
        "RABBITMQ_NODENAME": node.name,
        "RABBITMQ_USE_LONGNAME": "true",
        "RABBITMQ_NODE_IP_ADDRESS": address,
        "RABBITMQ_NODE_PORT": str(node.port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "ERL_EPMD_PORT": str(node.site.epmd_port),
        "ERL_EPMD_ADDRESS": address,
        "RABBITMQ_MNESIA_BASE": str(node.home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(node.home / "log"),
        "RABBITMQ_CONFIG_FILE": str(node.home / "rabbitmq"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(node.home / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(node.home / "enabled_plugins"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_PID_FILE": str(node.home / "rabbitmq-server.id"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG.format(address=address.replace(".", ",")),
        "RABBITMQ_CTL_ERL_ARGS": "+S 1:1",
        # The script then becomes the Erlang machine instead of waiting for it: one process id.
        "RUNNING_UNDER_SYSTEMD": "true",
    }
    inherited = {"LANG", "LC_ALL", "TMPDIR"}
    return {name: value for name, value in os.environ.items() if name in inherited} | own


def _of_plugins(node: Node, plugins: str) -> str:
    """Return what the configuration has for plugins, which refuses settings of one that is not there."""
    if "rabbitmq_management" not in plugins.split(","):
        return ""
    listener = {"ip": node.site.address, "port": node.management_port}
    return "".join(f"management.tcp.{key} = {value}\n" for key, value in listener.items())
