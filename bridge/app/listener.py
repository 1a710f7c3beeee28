"""Taking a port, or saying which setting to change."""

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
    """An address can't be listened on; the message names it, why, and where it was chosen."""

    def __init__(self, host: str, port: int, error: OSError, chosen_by: str) -> None:
        # asyncio and socket.create_server put the address, and each Python something else, around the system's words.
        number = error.errno or 0
        # A host name that can't be resolved has a negative number, which is not the system's.
        reason = os.strerror(number) if number > 0 else error.strerror or str(error)
        super().__init__(f"can't listen on {host}:{port}, chosen by {chosen_by}: {reason}")


def listen(server: HttpServer, where: AdminSettings | IngestSettings | SubmitSettings, section: str) -> int:
    """Start `server`, which was made for the address of the settings' `section`; return the port.

    Raises:
        CannotListen: the port is taken, or the address is not ours to have.
        SettingsError: the certificate or its key can't be used.

    """
    try:
        return server.start()
    except CertificateUnusable as e:
        raise SettingsError([SettingProblem(f"{section}.tls_{e.part}", str(e))]) from e
    except OSError as e:
        raise CannotListen(where.host, where.port or 0, e, f"{section}.host and {section}.port") from e
