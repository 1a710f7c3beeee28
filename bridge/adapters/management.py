"""RabbitMQ's management API, for what AMQP does not show: the nodes of a cluster and the members of its queues.

The HTTP API of the plugin `rabbitmq_management`: `GET /api/nodes` and `GET /api/queues/{vhost}`, whose quorum queues
have `members` and `online`. The user needs the tag `monitoring`.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from bridge.domain.queue_members import QueueMembers

if TYPE_CHECKING:
    from collections.abc import Collection

#: Seconds to connect, and to be answered.
TIMEOUT = 10.0
#: Bytes of an answer: a virtual host with some ten thousand queues.
LONGEST = 16 * 2**20


def read_members(
    url: str, vhost: str, queues: Collection[str], *, ca_file: str | None = None
) -> tuple[frozenset[str], list[QueueMembers]]:
    """Return the nodes of the cluster, running or not, and the members of those of `queues` that are there.

    `ca_file` holds the certificates that a server's is checked against; None: the system's.

    Raises:
        ConnectionError: the API can't be reached, refuses, or answers something else; the message has no secret.

    """
    nodes = _get(url, "nodes?columns=name", ca_file)
    listed = _get(url, f"queues/{quote(vhost, safe='')}?columns=name,type,members,online", ca_file)
    try:
        found = [
            QueueMembers(
                queue=str(queue["name"]),
                members=frozenset(queue["members"]),
                online=frozenset(queue.get("online", ())),
            )
            for queue in listed
            if queue["name"] in queues and "members" in queue
        ]
        return frozenset(str(node["name"]) for node in nodes), found
    except (KeyError, TypeError) as e:
        raise ConnectionError("broker.management_url: the answer is not the management API's") from e


def _get(url: str, path: str, ca_file: str | None) -> Any:
    parts = urlsplit(url)
    location = f"broker.management_url, {parts.hostname}"
    user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    headers = {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}
    try:
        connection = _connection(parts.scheme, parts.hostname or "", parts.port, ca_file)
        try:
            connection.request("GET", f"{parts.path}/api/{path}", headers=headers)
            answer = connection.getresponse()
            body = answer.read(LONGEST)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as e:
        raise ConnectionError(f"{location}: {type(e).__name__}: {getattr(e, 'strerror', None) or e}") from e
    if answer.status in {401, 403}:
        raise ConnectionError(
            f"{location}: {answer.status}: give its user a right password and the tag monitoring"
        )
    if answer.status != 200:
        raise ConnectionError(
            f"{location}: {answer.status} {answer.reason} for /api/{path.partition('?')[0]}"
        )
    try:
        return json.loads(body)
    except ValueError as e:
        raise ConnectionError(f"{location}: the answer is not JSON") from e


def _connection(scheme: str, host: str, port: int | None, ca_file: str | None) -> http.client.HTTPConnection:
    if scheme == "https":
        context = ssl.create_default_context(cafile=ca_file)
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)
    return http.client.HTTPConnection(host, port, timeout=TIMEOUT)
