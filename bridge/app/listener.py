"""Listener: starts a server, or names the setting to change."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bridge.adapters.http.server.tls import CertificateUnusable
from bridge.domain.errors import BridgeError
from bridge.settings import SettingProblem, SettingsError

if TYPE_CHECKING:
    from bridge.adapters.http.server.server import HttpServer
    from bridge.settings.sections import AdminSettings, IngestSettings, SubmitSettings


class CannotListen(BridgeError):
    """An address can't be listened on; the message has the address, the reason and the setting."""

    def __init__(self, host: str, port: int, error: OSError, chosen_by: str) -> None:
        # asyncio and socket.create_server add the address to the system's text, each version of Python differently.
        number = error.errno or 0
        # The error of an unresolved host name has a negative number, which is no errno of the system.
        reason = os.strerror(number) if number > 0 else error.strerror or str(error)
        super().__init__(f"can't listen on {host}:{port}, chosen by {chosen_by}: {reason}")


def listen(server: HttpServer, where: AdminSettings | IngestSettings | SubmitSettings, section: str) -> int:
    """Start `server`, which was created for the address in `section` of the settings; return the port.

    Raises:
        CannotListen: the port is taken, or the address does not belong to this machine.
        SettingsError: the certificate or its key can't be used.

    """
    try:
        return server.start()
    except CertificateUnusable as e:
        raise SettingsError([SettingProblem(f"{section}.tls_{e.part}", str(e))]) from e
    except OSError as e:
        raise CannotListen(where.host, where.port or 0, e, f"{section}.host and {section}.port") from e
