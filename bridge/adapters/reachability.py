"""The reachability of a webhook URL, and its response to a request without authorization."""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

#: Seconds to connect, and to be answered.
TIMEOUT = 10.0


class HostUnreachable(Exception):
    """No server answers there; the message says why."""


class PortClosed(HostUnreachable):
    """A connection was accepted and closed without an answer, as the ingest treats addresses outside its networks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """How it answered."""

    status: int
    #: When its certificate ends, in seconds since the epoch; None over plain HTTP.
    expires_at: float | None


def reach(url: str) -> Reached:
    """Post nothing, without authorization.

    Raises:
        Closed: it was closed without an answer.
        Unreachable: no connection, no valid certificate, or no HTTP.

    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection = (
        http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT)
    )
    try:
        connection.connect()
        expires_at = _expiry(connection)
        connection.request("POST", parts.path or "/", headers={"Content-Length": "0"})
        return Reached(status=connection.getresponse().status, expires_at=expires_at)
    except ssl.SSLCertVerificationError as e:
        raise HostUnreachable(f"its certificate is not valid: {e.verify_message}") from e
    except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as e:
        raise PortClosed("the connection was closed without an answer") from e
    except (OSError, http.client.HTTPException) as e:
        raise HostUnreachable(f"{type(e).__name__}: {getattr(e, 'strerror', None) or e}") from e
    finally:
        connection.close()


def _expiry(connection: http.client.HTTPConnection) -> float | None:
    if not isinstance(connection.sock, ssl.SSLSocket):
        return None
    certificate = connection.sock.getpeercert() or {}
    ends = certificate.get("notAfter")
    return ssl.cert_time_to_seconds(ends) if isinstance(ends, str) else None
